"""Trainer module file: trains the student on the labels and on its teachers' soft targets."""

from __future__ import annotations

from typing import Any

from modules.distill.trainer_task import TrainerTask
from modules.export.saved_model import export_trained


def run_fn(fn_args: Any) -> None:
    """Called by TFX's Trainer with `FnArgs`."""
    export_trained(TrainerTask(fn_args).distill(), fn_args.serving_model_dir)
