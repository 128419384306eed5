"""Trainer module file: trains a model on the labels alone (the teacher, and the control)."""

from __future__ import annotations

from typing import Any

from modules.trainer_task import TrainerTask


def run_fn(fn_args: Any) -> None:
    """Called by TFX's Trainer with `FnArgs`."""
    TrainerTask(fn_args).train()
