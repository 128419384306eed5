"""Tuner module file: searches the student's hyperparameters."""

from modules.search.trials import tuner_fn

__all__ = ["tuner_fn"]
