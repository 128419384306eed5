"""Tests of modules.measure.fresh_process with real files in real processes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from runtime_models import (
    ANSWERS,
    TENSORS,
    greedy_sums,
    patient_sums,
    serialized,
    sums,
    write_int8_tflite,
    write_saved_model,
    write_tflite,
)

from modules.export import runtimes
from modules.export.runtimes import LITERT, SAVED_MODEL, Examples, ModelFile
from modules.judge.schema import FreshProcess
from modules.measure.fresh_process import FreshProcesses
from modules.settings import EvaluateSettings

SETTINGS = EvaluateSettings()


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("tflite") / "sums.tflite"
    return ModelFile("student", LITERT, write_tflite(path, sums))


def _probe(file: ModelFile, expected: np.ndarray = ANSWERS, **limits: float) -> FreshProcess:
    settings = SETTINGS.model_copy(update=limits)
    examples = Examples(TENSORS, serialized() if file.runtime == SAVED_MODEL else ())
    with FreshProcesses([file], examples, settings) as processes:
        found = processes.compare({file: expected})
    return FreshProcess.model_validate(found[file.role][file.runtime])


def test_a_file_that_answers_as_judged(tflite: ModelFile) -> None:
    found = _probe(tflite)
    assert found.passed and found.problem is None
    assert (found.runtime, found.canaries, found.max_difference) == ("litert", 3, 0.0)
    assert found.load_ms > 0
    # Python with NumPy and LiteRT; this process, with TensorFlow, has many times as much.
    assert 10e6 < found.runtime_memory_bytes <= found.peak_memory_bytes < 200e6


@pytest.mark.parametrize(
    ("expected", "problem", "difference"),
    [
        (ANSWERS + np.array([[0], [0.5], [0]]), "answers differ by 2.0e-03 of the largest", 0.5),
        (-ANSWERS, r"answers differ by 2.0e\+00 of the largest", 510.0),
        (ANSWERS[:, :1], r"answers have shape \(3, 2\), not \(3, 1\)", None),
    ],
)
def test_a_file_that_answers_otherwise(
    tflite: ModelFile, expected: np.ndarray, problem: str, difference: float | None
) -> None:
    found = _probe(tflite, expected)
    assert not found.passed
    assert found.max_difference == difference
    assert re.search(problem, found.problem)


def test_a_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    found = _probe(ModelFile("student", LITERT, str(tmp_path / "none.tflite")))
    assert not found.passed and "Could not open" in found.problem
    assert (found.load_ms, found.peak_memory_bytes, found.max_difference) == (None, None, None)


def test_a_file_that_takes_too_long(tflite: ModelFile) -> None:
    # Python alone takes longer to start.
    found = _probe(tflite, time_limit_s=0.01)
    assert (found.passed, found.problem) == (False, "did not answer within 0.01 s")


@pytest.mark.thorough
def test_a_file_that_never_answers(tmp_path: Path) -> None:
    file = ModelFile("patient", LITERT, write_tflite(tmp_path / "patient.tflite", patient_sums))
    found = _probe(file, time_limit_s=4)
    assert (found.passed, found.problem) == (False, "did not answer within 4 s")


def test_nobody_waits_for_a_file_when_something_else_has_failed(tmp_path: Path) -> None:
    file = ModelFile("patient", LITERT, write_tflite(tmp_path / "patient.tflite", patient_sums))
    processes = FreshProcesses([file], Examples(TENSORS), SETTINGS)

    def fail() -> None:
        with processes:
            while not processes._children:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    found = processes.compare({file: ANSWERS})["patient"]["litert"]
    assert found["problem"] == "killed by signal 9 (Killed)"


@pytest.mark.thorough
def test_a_file_that_needs_too_much_memory(tmp_path: Path) -> None:
    greedy = ModelFile("greedy", LITERT, write_tflite(tmp_path / "greedy.tflite", greedy_sums))
    assert _probe(greedy).passed
    found = _probe(greedy, memory_limit_mb=256)
    assert not found.passed
    assert found.problem == "RuntimeError, 256 MiB of memory are allowed"


def test_an_integer_file_is_compared_by_its_real_logits(tmp_path: Path) -> None:
    path = write_int8_tflite(tmp_path / "int8.tflite")
    judged = runtimes.load("litert", path, threads=2).answer(TENSORS)
    assert judged.dtype == np.float32 and (judged.max(axis=1) > 0).all()
    found = _probe(ModelFile("int8", LITERT, path), judged)
    assert (found.passed, found.max_difference) == (True, 0.0)


@pytest.mark.thorough
def test_saved_models(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("sums", "greedy", "patient")}
    write_saved_model(files["sums"], sums)
    write_saved_model(files["greedy"], greedy_sums)
    examples = Examples(TENSORS, serialized())
    expected = {
        ModelFile(name, SAVED_MODEL, str(files[name])): ANSWERS for name in ("sums", "greedy")
    }
    settings = SETTINGS.model_copy(update={"memory_limit_mb": 1200})
    with FreshProcesses(list(expected), examples, settings) as processes:
        found = processes.compare(expected)
    passed = found["sums"]["saved_model"]
    assert passed["passed"] and passed["max_difference"] == 0.0
    assert passed["runtime_memory_bytes"] < passed["peak_memory_bytes"] < 1200 * 2**20
    greedy = found["greedy"]["saved_model"]
    assert not greedy["passed"]
    assert greedy["problem"] == "ResourceExhaustedError, 1200 MiB of memory are allowed"
