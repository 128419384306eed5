"""Tests of modules.judge.evidence: from answers to the parts of a report, by hand."""

from __future__ import annotations

import math
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_report import sample_report

from modules.judge import evidence
from modules.judge.evidence import Statistics, describe_variant, environment
from modules.judge.task_numbers import NUMBERS
from modules.measure import intervals
from modules.measure.class_answers import ClassAnswers
from modules.measure.registry import metrics_of

STATISTICS = Statistics(metrics_of("classification", confidence=0.95, seed=0, top_k=(2,)))
# Logits of three classes, by the class they favor.
FIRST, SECOND, THIRD = [9.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 1.0, 9.0]


def _answers(labels: list[int], logits: list[list[float]]) -> ClassAnswers:
    return ClassAnswers.from_outputs(labels, logits)


TEACHER = _answers([0, 0, 1, 2], [FIRST, FIRST, SECOND, FIRST])
STUDENT = _answers([0, 0, 1, 2], [FIRST, SECOND, SECOND, THIRD])


def _described(
    answers: ClassAnswers, size_bytes: int = 100, **references: ClassAnswers
) -> evidence.Entry:
    return STATISTICS.describe(
        answers, references, parameters=7, size_bytes=size_bytes, latency=None
    )


def test_describe_by_hand() -> None:
    # Right at confidence 3/4, wrong at 1/2: two bins of one example each, gaps 1/4 and 1/2.
    entry = _described(_answers([1, 1], [[0.0, math.log(3)], [0.0, 0.0]]), size_bytes=28)
    assert entry.accuracy == 0.5
    assert entry.loss == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert entry.ece == pytest.approx(0.375)
    assert entry.top_k == {"2": 1.0}
    assert (entry.parameters, entry.size_bytes, entry.latency) == (7, 28, None)
    assert entry.intervals["accuracy"] == pytest.approx(intervals.proportion(1, 2, 0.95))
    assert entry.intervals.keys() == {"top_k.2", *NUMBERS["classification"]} - {"top_k"}
    assert (entry.roc_auc, entry.rmse) == (None, None)


def test_describe_holds_a_model_against_others_on_the_same_examples() -> None:
    entry = _described(STUDENT, teacher=TEACHER, control=STUDENT)
    assert entry.against.keys() == {"teacher", "control"}
    # Both are right on 3 of 4, though not on the same ones: no change, but uncertain.
    change = entry.against["teacher"]["accuracy"]
    assert change.value == 0.0
    assert change.low is not None and change.high is not None
    assert change.low < 0.0 < change.high
    loss = entry.against["teacher"]["loss"].value
    assert loss == pytest.approx(float(STUDENT.loss.mean() - TEACHER.loss.mean()))
    assert entry.against["control"]["loss"].value == 0.0


def test_a_diverged_model_is_described_with_nulls() -> None:
    entry = _described(_answers([0, 1], [[math.nan, 0.0], [0.0, 1.0]]))
    assert (entry.accuracy, entry.loss, entry.ece) == (1.0, None, None)


def test_a_slice_has_tfmas_numbers_and_our_intervals() -> None:
    tfma = {
        "teacher": {"accuracy": 0.75, "loss": 2.1, "top_k.2": 0.8},
        "student": {"accuracy": 0.7, "loss": 2.0, "top_k.2": 0.9},
    }
    found = STATISTICS.describe_slice(
        {"class_name": "cat"}, tfma, {"teacher": TEACHER, "student": STUDENT}
    )
    assert (found.slice, found.count) == ({"class_name": "cat"}, 4)
    assert found.student.accuracy == 0.7
    assert found.student.top_k == {"2": 0.9}
    assert found.student.intervals["accuracy"] == pytest.approx(intervals.proportion(3, 4, 0.95))
    assert "ece" not in found.student.intervals
    assert found.student.against["teacher"]["accuracy"].value == 0.0


def _speedup(median: float) -> dict[str, Any]:
    bounds = {"ci_low": median - 0.5, "ci_high": median + 0.5}
    return bounds | {"median": median, "confidence": 0.95, "runtime": "litert"}


def test_compare_by_hand() -> None:
    control = _answers([0, 0, 1, 2], [SECOND, SECOND, SECOND, THIRD])
    answers = {"teacher": TEACHER, "student": STUDENT, "control": control}
    entries = {
        "teacher": _described(TEACHER, size_bytes=1000),
        "student": _described(STUDENT, size_bytes=250, teacher=TEACHER, control=control),
        "control": _described(control, size_bytes=250),
    }
    speedups = {"litert_batch_1": {"student": _speedup(4.0), "int8": _speedup(6.0)}}
    found = STATISTICS.compare(entries, answers, speedups, {"litert_batch_1": _speedup(1.0)})
    assert found.accuracy_change == 0.0
    assert found.distillation_gain == 0.25
    # They agree on the first and the third example; the teacher is right on the first three.
    assert found.agreement == 0.5
    assert found.agreement_teacher_right == pytest.approx(2 / 3)
    assert found.agreement_teacher_wrong == 0.0
    assert found.compression == 4.0
    assert found.speedup is not None and found.speedup.median == 4.0
    assert found.speedups["litert_batch_1"]["int8"].median == 6.0
    assert found.aa_control["litert_batch_1"].median == 1.0
    assert found.intervals["agreement"] == pytest.approx(intervals.proportion(2, 4, 0.95))
    gain = entries["student"].against["control"]["accuracy"]
    assert found.intervals["distillation_gain"] == (gain.low, gain.high)


def test_compare_without_control_and_timing() -> None:
    entries = {"teacher": _described(TEACHER), "student": _described(STUDENT, teacher=TEACHER)}
    found = STATISTICS.compare(entries, {"teacher": TEACHER, "student": STUDENT}, {}, {})
    assert (found.distillation_gain, found.speedup) == (None, None)
    assert found.intervals.keys() == {"accuracy_change", "agreement"}


def test_describe_variant_adds_the_file_and_its_compression() -> None:
    entry = sample_report().variants["int8"]
    plain = evidence.Entry(**{key: getattr(entry, key) for key in evidence.Entry.model_fields})
    variant = describe_variant(plain, "student/int8/model.tflite", "0a" * 32, 80_080)
    assert variant.compression == 80_080 / entry.size_bytes
    assert (variant.file, variant.sha256) == ("student/int8/model.tflite", "0a" * 32)
    assert variant.accuracy == entry.accuracy
    assert variant.latencies == entry.latencies


def test_per_class_by_hand() -> None:
    found = STATISTICS.per_class(["a", "b", "c", "d"], TEACHER, STUDENT)
    accuracies = [
        (each.label, each.count, each.teacher.accuracy, each.student.accuracy) for each in found
    ]
    assert accuracies == [
        ("a", 2, 1.0, 0.5),
        ("b", 1, 1.0, 1.0),
        ("c", 1, 0.0, 1.0),
        ("d", 0, None, None),
    ]
    assert found[0].student.f1 == pytest.approx(2 / 3)
    assert found[3].teacher.f1 is None


def test_confusion_by_hand() -> None:
    (cells,) = STATISTICS.confusion({"student": STUDENT}).values()
    found = {(cell.label, cell.predicted): cell.count for cell in cells}
    assert found == {(0, 0): 1, (0, 1): 1, (1, 1): 1, (2, 2): 1}


def test_reliability_holds_every_example_once() -> None:
    (bins,) = STATISTICS.reliability({"teacher": TEACHER}).values()
    assert sum(each.count for each in bins) == len(TEACHER)
    gaps = [each.count * abs(each.accuracy - each.confidence) for each in bins if each.count]
    assert sum(gaps) / len(TEACHER) == pytest.approx(_described(TEACHER).ece)


def test_disagreements_name_the_examples() -> None:
    found = STATISTICS.disagreements(["p", "q", "r", "s"], TEACHER, STUDENT, limit=5)
    by_id = {each.example_id: (each.label, each.teacher, each.student) for each in found}
    assert by_id == {"q": (0, 0, 1), "s": (2, 0, 2)}
    confidence = np.exp(9) / (np.exp(9) + np.exp(1) + 1)
    assert found[0].student_confidence == pytest.approx(confidence)
    assert len(STATISTICS.disagreements(["p", "q", "r", "s"], TEACHER, STUDENT, limit=1)) == 1


def test_environment_names_this_machine() -> None:
    found = environment(["GPU X"])
    assert found.versions["python"] == platform.python_version()
    assert found.versions["keras"] == metadata.version("keras")
    assert list(found.versions) == ["python", *evidence.DISTRIBUTIONS]
    assert found.accelerators == ["GPU X"]
    assert found.cpu
    assert 1 <= found.cpu_count <= (os.cpu_count() or 1)


def test_environment_has_null_for_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "DISTRIBUTIONS", ("no-such-distribution",))
    assert environment().versions["no-such-distribution"] is None


def test_cpu_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel\t\t: 207\nmodel name\t: Some: CPU\nmodel name: 2\n")
    assert evidence._cpu_name(cpuinfo) == "Some: CPU"
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    cpuinfo.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")
    assert evidence._cpu_name(cpuinfo) == "arm"
    assert evidence._cpu_name(tmp_path / "none") == "arm"


# -- Other tasks --


def test_a_regression_is_described_by_its_errors() -> None:
    statistics = Statistics(metrics_of("regression", confidence=0.95, seed=0))
    kind, labels = statistics.metrics.answers, [1.0, 2.0, 3.0, 4.0]
    answers = {
        role: kind.from_outputs(labels, np.array(labels) + errors)
        for role, errors in {
            "teacher": [0.1, -0.1, 0.2, -0.2],
            "student": [0.3, -0.1, 0.2, -0.4],
            "control": [0.5, -0.5, 0.5, -0.5],
        }.items()
    }
    entries = {
        role: statistics.describe(
            each, {} if role == "teacher" else answers, parameters=1, size_bytes=10, latency=None
        )
        for role, each in answers.items()
    }
    student = entries["student"]
    assert (student.accuracy, student.ece, student.top_k) == (None, None, {})
    assert student.mae == pytest.approx(0.25)
    assert student.rmse is not None and student.rmse**2 == pytest.approx(student.loss)
    relative = student.against["teacher"]["rmse"].relative
    assert relative is not None and relative.value == pytest.approx(np.sqrt(3))
    found = statistics.compare(entries, answers, {}, {})
    assert found.accuracy_change is None
    assert found.distillation_gain == pytest.approx(0.5 - student.rmse)
    assert found.mean_absolute_difference == pytest.approx(0.1)
    assert found.intervals.keys() == {
        "agreement",
        "mean_absolute_difference",
        "distillation_gain",
    }
    assert statistics.per_class([], answers["teacher"], answers["student"]) == []
    assert statistics.confusion(answers) == statistics.reliability(answers) == {}
    assert statistics.curves(answers)["student"].values[0] == (1.0, 1.3)
    (first, _) = statistics.disagreements(list("abcd"), answers["teacher"], answers["student"], 2)
    assert (first.example_id, first.label, first.teacher) in (("a", 1.0, 1.1), ("d", 4.0, 3.8))
    slices = statistics.describe_slice(
        {"cut": "fair"}, {"teacher": {"rmse": 0.2}, "student": {}}, answers
    )
    assert (slices.teacher.rmse, slices.student.rmse) == (0.2, student.rmse)


def test_labels_are_described_one_by_one() -> None:
    statistics = Statistics(metrics_of("multilabel", confidence=0.95, seed=0))
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    teacher, student = (
        statistics.metrics.answers.from_outputs(labels, logits)
        for logits in (4.0 * labels - 2, 4.0 * labels - [2, 5])
    )
    found = statistics.per_class(["wet", "cold"], teacher, student)
    assert [(each.label, each.count) for each in found] == [("wet", 2), ("cold", 2)]
    assert (found[1].teacher.accuracy, found[1].student.accuracy) == (1.0, 0.5)
    assert (found[1].student.f1, found[1].student.roc_auc) == (0.0, 1.0)
    differing = statistics.disagreements(list("abcd"), teacher, student, 5)
    assert [(each.example_id, each.label, each.student) for each in differing] == [
        ("b", [1], []),
        ("c", [0, 1], [0]),
    ]
