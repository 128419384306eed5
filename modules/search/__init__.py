"""Searching for the best student: what may change, and the trials."""
