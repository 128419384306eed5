"""Trainer module file: trains the student on the labels and on its teachers' knowledge."""

from __future__ import annotations

from typing import Any

from modules.trainer_task import TrainerTask


def run_fn(fn_args: Any) -> None:
    """Called by TFX's Trainer with `FnArgs`."""
    TrainerTask(fn_args).distill()
