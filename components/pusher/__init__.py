"""Pushes a blessed student: its SavedModel and one TFLite file, as one version."""
