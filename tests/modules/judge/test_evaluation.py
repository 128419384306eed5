"""Tests of modules.judge.evaluation: the evidence of every task, from answers that are there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modules.data.eval_split import EvalBatch
from modules.data.spec import OutputSpec
from modules.errors import ConfigError, ModelError
from modules.judge import evaluation
from modules.judge.answers import JudgedModels, SplitAnswers
from modules.judge.evaluation import Record, Rules
from modules.judge.gate import build_report
from modules.settings import GateSettings, Task

COUNT = 60
SIZES: dict[Task, int] = {"classification": 4, "binary": 2, "multilabel": 3, "regression": 1}
GATES: dict[Task, dict[str, Any]] = {
    "classification": {"min_accuracy": 0.1},
    "binary": {"min_roc_auc": 0.2},
    "multilabel": {"max_tflite_accuracy_drop": 0.2},
    "regression": {"max_rmse_increase": 4.0},
}
NOISE = {"teacher": 0.2, "student": 0.4, "control": 0.8}
IDS = [f"{at:064x}" for at in range(COUNT)]


def _models(directory: Path) -> JudgedModels:
    for role in ("teacher", "student", "control"):
        (directory / role).mkdir()
        (directory / role / "saved_model.pb").write_bytes(b"0123456789")
    for role in ("teacher", "student"):
        path = directory / "tflite" / role / "float32"
        path.mkdir(parents=True)
        (path / "model.tflite").write_bytes(b"01234")
        digest = hashlib.sha256(b"01234").hexdigest()
        (path / "spec.json").write_text(json.dumps({"sha256": digest}))
    paths = {role: str(directory / role) for role in ("teacher", "student", "control")}
    return JudgedModels(tflite=str(directory / "tflite"), **paths)


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("damage", ["other bytes", "no description", "no digest"])
def test_a_damaged_tflite_file_is_not_loaded(tmp_path: Path, role: str, damage: str) -> None:
    models = _models(tmp_path)
    models.check_files()
    file = Path(models.tflite_file(role, "float32"))
    if damage == "other bytes":
        file.write_bytes(b"01235")
    elif damage == "no description":
        file.with_name("spec.json").unlink()
    else:
        file.with_name("spec.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        models.check_files()
    assert str(caught.value) == (
        f"{file} is not the file that spec.json beside it describes; remove {models.tflite} and "
        "run again"
    )


def _split(output: OutputSpec) -> Any:
    """A split of which only the texts of examples are read."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"south"]))
    example = tf.train.Example(features=tf.train.Features(feature={"site": feature}))
    ids = np.array([each.encode() for each in IDS], object)
    batch = EvalBatch(np.array([example.SerializeToString()] * COUNT, object), ids, ids)
    return SimpleNamespace(output=output, serialized=lambda: [batch])


def _answers(task: Task, metrics: Any, weighted: bool) -> SplitAnswers:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(COUNT, SIZES[task]))
    labels = {"multilabel": outputs > 0.4, "regression": outputs[:, 0] + 0.1}.get(
        task, outputs.argmax(axis=1)
    )
    weights = rng.gamma(2, size=COUNT) if weighted else None

    def answered(noise: float) -> Any:
        noisy = outputs + noise * rng.normal(size=outputs.shape)
        return metrics.answers.from_outputs(labels, noisy, weights)

    models = {role: answered(noise) for role, noise in NOISE.items()}
    sites = np.array(["north", "south"] * (COUNT // 2), object)
    variants = {"float32": models["student"]}
    return SplitAnswers(models, variants, canaries={}, ids=IDS, features={"site": sites})


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", SIZES)
def test_the_evidence_of_every_task_is_judged(
    task: Task, weighted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation.storage, "count_parameters", lambda path: 7)
    monkeypatch.setattr(evaluation.storage, "keras_directory", lambda path: path)
    classes = () if task == "regression" else tuple("abcd"[: SIZES[task]])
    output = OutputSpec(task=task, size=SIZES[task], classes=classes)
    rules = Rules.model_validate(
        {
            "name": "x",
            "seed": 0,
            "data": {},
            "evaluate": {"slices": ["site"], "top_k": [2, 9]},
            "latency": {},
            "gate": GATES[task],
            "push": {},
        }
    )
    split: Any = _split(output)
    statistics = evaluation._statistics(split, rules)
    answers = _answers(task, statistics.metrics, weighted)
    timed: Any = SimpleNamespace(
        summaries=lambda confidence: {},
        speedups=lambda confidence: {},
        aa_control=lambda confidence: {},
    )
    measured = evaluation._Measured(_models(tmp_path), answers, statistics, timed, fresh={})
    whole = {(): {}, (("site", "north"),): {}, (("site", "south"),): {"loss": 0.5}}
    tfma: Any = {"teacher": whole, "student": whole}
    record = Record({}, {}, None, None, {}, None, {}, "")  # type: ignore[arg-type]
    parts = evaluation._evidence(measured, split, rules, record, tfma)
    report = build_report(parts, rules.gate)
    assert (report.task, report.labels, report.main) == (task, [*classes], statistics.metrics.main)
    assert next(check.verdict for check in report.gate.checks if check.counts) == "passed"
    assert {len(each.slice) for each in report.slices} == {1}
    south = next(each for each in report.slices if each.slice == {"site": "south"})
    assert (south.count, south.student.loss) == (30, 0.5)
    assert south.student.against["teacher"][report.main].value is not None
    assert report.disagreements
    assert {each.text for each in report.disagreements} == {"site south"}
    assert [each.label for each in report.per_class] == [*classes]
    assert report.comparison.distillation_gain is not None
    assert report.comparison.distillation_gain > 0
    # Of four classes; an answer among nine is always right.
    assert [*report.student.top_k] == (["2"] if task == "classification" else [])


def test_a_gate_of_another_task_ends_the_judgment_at_once() -> None:
    rules = SimpleNamespace(gate=GateSettings(min_accuracy=0.5), evaluate=None)
    split: Any = SimpleNamespace(output=OutputSpec(task="regression", size=1))
    with pytest.raises(ConfigError, match="regression has no accuracy"):
        evaluation.evaluate(None, split, rules, None, None)  # type: ignore[arg-type]
