"""Tests of modules.export.runtimes: every runtime answers the same models alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runtime_models import (
    ANSWERS,
    PIXELS,
    serialized,
    stubborn_sums,
    sums,
    write_int8_tflite,
    write_saved_model,
    write_tflite,
)

from modules.export import runtimes
from modules.export.runtimes import RUNTIMES, Examples
from modules.export.runtimes.litert import dequantize

WRITE = {"litert": write_tflite, "saved_model": write_saved_model}


def test_every_runtime_has_its_tests() -> None:
    assert set(RUNTIMES) == set(WRITE)


@pytest.mark.parametrize("runtime", sorted(WRITE))
@pytest.mark.parametrize("batch_size", [1, 3])
def test_known_answers(tmp_path: Path, runtime: str, batch_size: int) -> None:
    model = runtimes.load(runtime, WRITE[runtime](tmp_path / "model", sums), 1, batch_size)
    examples = runtimes.taken_by(runtime, Examples(PIXELS, serialized()))
    logits = model.answer(examples)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, ANSWERS)
    # Round and round the examples: 1, then 2 and 3, or all three and over again.
    first = model.batches(examples)[0]
    np.testing.assert_array_equal(model.logits(model.query(first)), ANSWERS[:batch_size])


@pytest.mark.parametrize("runtime", sorted(WRITE))
def test_a_batch_that_does_not_divide_the_examples(tmp_path: Path, runtime: str) -> None:
    model = runtimes.load(runtime, WRITE[runtime](tmp_path / "model", sums), 1, 2)
    batches = model.batches(runtimes.taken_by(runtime, Examples(PIXELS, serialized())))
    answers = [model.logits(model.query(batch)) for batch in batches]
    np.testing.assert_array_equal(np.concatenate(answers), ANSWERS[[0, 1, 2, 0]])


def test_litert_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "model", stubborn_sums)
    with pytest.raises((ValueError, RuntimeError)):
        runtimes.load("litert", path, 1, 4).answer(np.repeat(PIXELS[:1], 4, axis=0))
    with pytest.raises(ValueError, match=r"it takes uint8 \(2, 2, 1\), but an example is float32"):
        runtimes.load("litert", path).answer(PIXELS.astype(np.float32))


def test_an_integer_file_answers_real_logits(tmp_path: Path) -> None:
    logits = runtimes.load("litert", write_int8_tflite(tmp_path / "int8")).answer(PIXELS)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, ANSWERS, atol=4)  # 510 in 255 steps, input and output


def test_dequantize() -> None:
    values = np.array([-128, 0, 127], np.int8)
    np.testing.assert_array_equal(dequantize(values, (0.5, -128)), [0, 64, 127.5])
    np.testing.assert_array_equal(dequantize(values, (0.0, 0)), values)


def test_examples_survive_packing() -> None:
    examples = Examples(PIXELS, [b"a", b"", b"bcd"])
    again = Examples.unpack(examples.pack())
    np.testing.assert_array_equal(again.tensors, PIXELS)
    assert again.serialized == [b"a", b"", b"bcd"]
    with pytest.raises(ValueError, match="as many serialized as tensors or none, got 1 and 3"):
        Examples(PIXELS, [b"a"])


def test_the_package_imports_no_runtime() -> None:
    code = "import modules.export.runtimes, sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"tensorflow", "keras", "ai_edge_litert", "scipy", "pydantic"}
    assert "numpy" in found and not heavy & set(found)
