"""Searching for the best student: candidates, limits that need no training, successive halving."""
