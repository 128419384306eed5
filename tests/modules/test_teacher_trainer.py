"""modules.teacher_trainer: a teacher is asked before it is written, a control is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modules import teacher_trainer
from modules.errors import ModelError


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a training that is none; what was done after it, in order."""

    def run(allow_weak: bool | None, *, chief: bool = True, weak: bool = False) -> list[Any]:
        done: list[Any] = []

        def check(model: Any, batches: Any, output: Any, *, allow_weak: bool) -> None:
            done.append(("check", model, batches, output, allow_weak))
            if weak:
                raise ModelError("the teacher is weak")

        task = SimpleNamespace(
            config=SimpleNamespace(allow_weak=allow_weak),
            train=lambda: SimpleNamespace(model="model", chief=chief),
            held_out=lambda: "held out",
            spec=SimpleNamespace(output="output"),
        )
        monkeypatch.setattr(teacher_trainer, "TrainerTask", lambda fn_args: task)
        monkeypatch.setattr(teacher_trainer, "check_teacher", check)
        monkeypatch.setattr(
            teacher_trainer, "export_trained", lambda *arguments: done.append("export")
        )
        try:
            teacher_trainer.run_fn(SimpleNamespace(serving_model_dir="here"))
        except ModelError:
            done.append("refused")
        return done

    return run


def test_a_teacher_is_asked_before_it_is_written(trained: Any) -> None:
    assert trained(False) == [("check", "model", "held out", "output", False), "export"]
    assert trained(True)[0][-1] is True
    assert trained(False, weak=True)[1:] == ["refused"]


def test_a_control_and_other_workers_ask_nothing(trained: Any) -> None:
    assert trained(None) == ["export"]
    assert trained(False, chief=False) == ["export"]
