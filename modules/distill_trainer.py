"""Trainer module file: trains the student on the labels and on its teacher's logits."""

from __future__ import annotations

from typing import Any

from modules.trainer_task import TrainerTask


def run_fn(fn_args: Any) -> None:
    """Called by TFX's Trainer with `FnArgs`; `base_model` is the teacher."""
    TrainerTask(fn_args).run(teacher_dir=fn_args.base_model)
