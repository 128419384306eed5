"""Trainer module file: trains a model on the labels alone (the teacher, and the control)."""

from __future__ import annotations

from typing import Any

from modules.distill.trainer_task import TrainerTask
from modules.export.saved_model import export_trained


def run_fn(fn_args: Any) -> None:
    """Called by TFX's Trainer with `FnArgs`."""
    export_trained(TrainerTask(fn_args).train(), fn_args.serving_model_dir)
