"""Trainer module file: trains a model on the labels alone (the teacher, and the control)."""

from __future__ import annotations

from typing import Any

from modules.distill.trainer_task import TrainerTask
from modules.export.saved_model import export_trained
from modules.judge.teacher import check_teacher


def run_fn(fn_args: Any) -> None:
    """Called by TFX's Trainer with `FnArgs`."""
    task = TrainerTask(fn_args)
    trained = task.train()
    allow_weak = task.config.allow_weak
    if allow_weak is not None and trained.chief:
        check_teacher(trained.model, task.held_out(), task.spec.output, allow_weak=allow_weak)
    export_trained(trained, fn_args.serving_model_dir)
