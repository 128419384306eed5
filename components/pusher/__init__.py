"""Pushes a blessed student: its SavedModel and its TFLite files, as one version."""
