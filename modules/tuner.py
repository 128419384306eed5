"""Tuner module file: searches the student and its objective."""

from modules.search.student_search import tuner_fn

__all__ = ["tuner_fn"]
