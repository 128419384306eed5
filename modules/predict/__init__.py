"""Asking a pushed model: from files that a user names to answers."""
