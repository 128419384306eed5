"""Tests of modules.export.runtimes: every runtime answers the same models alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from mixed_models import YEAR, build, data_spec, examples
from runtime_models import (
    ANSWERS,
    PIXELS,
    TENSORS,
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
from modules.export.tflite import convert
from modules.settings import TFLiteVariant

WRITE = {"litert": write_tflite, "saved_model": write_saved_model}


def test_every_runtime_has_its_tests() -> None:
    assert set(RUNTIMES) == set(WRITE)


@pytest.mark.parametrize("runtime", sorted(WRITE))
@pytest.mark.parametrize("batch_size", [1, 3])
def test_known_answers(tmp_path: Path, runtime: str, batch_size: int) -> None:
    model = runtimes.load(runtime, WRITE[runtime](tmp_path / "model", sums), 1, batch_size)
    given = runtimes.taken_by(runtime, Examples(TENSORS, serialized()))
    logits = model.answer(given)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, ANSWERS)
    # Round and round the examples: 1, then 2 and 3, or all three and over again.
    first = model.batches(given)[0]
    np.testing.assert_array_equal(model.logits(model.query(first)), ANSWERS[:batch_size])


@pytest.mark.parametrize("runtime", sorted(WRITE))
def test_a_batch_that_does_not_divide_the_examples(tmp_path: Path, runtime: str) -> None:
    model = runtimes.load(runtime, WRITE[runtime](tmp_path / "model", sums), 1, 2)
    batches = model.batches(runtimes.taken_by(runtime, Examples(TENSORS, serialized())))
    answers = [model.logits(model.query(batch)) for batch in batches]
    np.testing.assert_array_equal(np.concatenate(answers), ANSWERS[[0, 1, 2, 0]])


def test_litert_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "model", stubborn_sums)
    with pytest.raises((ValueError, RuntimeError)):
        runtimes.load("litert", path, 1, 4).answer({"image": np.repeat(PIXELS[:1], 4, axis=0)})
    with pytest.raises(
        ValueError, match=r"it takes image as uint8 \(2, 2, 1\), but an example is float32"
    ):
        runtimes.load("litert", path).answer({"image": PIXELS.astype(np.float32)})


@pytest.mark.parametrize("variant", ["float32", "int8"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_litert_takes_inputs_of_every_kind_by_name(
    tmp_path: Path, variant: TFLiteVariant, batch_size: int
) -> None:
    spec, tensors = data_spec(), examples(8)
    model = build(spec)
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(model, variant, tensors, spec.output))
    loaded = runtimes.load("litert", str(path), 1, batch_size)
    expected = model.predict(tensors, verbose=0)
    backwards = {name: tensors[name] for name in sorted(tensors, reverse=True)}
    tolerance = 0.1 if variant == "int8" else 1e-5
    np.testing.assert_allclose(loaded.answer(backwards), expected, atol=tolerance)
    assert np.ptp(expected, axis=0).min() > 3 * tolerance
    with pytest.raises(ValueError, match=r"its inputs are colors, petal .* but .* have colors, ph"):
        loaded.answer({name: tensors[name] for name in tensors if name != "petal length (cm)"})


def test_a_file_that_computes_shapes_answers_batches(tmp_path: Path) -> None:
    spec = data_spec(inputs=(YEAR,))
    year = keras.Input((), name="year")
    # The shape of what is reshaped is known when it comes: SHAPE, PACK and RESHAPE.
    model = keras.Model({"year": year}, keras.layers.Dense(3)(keras.layers.Reshape((1,))(year)))
    path = tmp_path / "model.tflite"
    tensors = {"year": np.arange(4, dtype=np.float32)}
    path.write_bytes(convert(model, "float32", tensors, spec.output))
    answers = runtimes.load("litert", str(path), 1, 4).answer(tensors)
    np.testing.assert_allclose(answers, model.predict(tensors, verbose=0), atol=1e-6)


def test_an_integer_file_answers_real_logits(tmp_path: Path) -> None:
    logits = runtimes.load("litert", write_int8_tflite(tmp_path / "int8")).answer(TENSORS)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, ANSWERS, atol=4)  # 510 in 255 steps, input and output


def test_dequantize() -> None:
    values = np.array([-128, 0, 127], np.int8)
    np.testing.assert_array_equal(dequantize(values, (0.5, -128)), [0, 64, 127.5])
    np.testing.assert_array_equal(dequantize(values, (0.0, 0)), values)


def test_examples_survive_packing() -> None:
    tensors = {"image": PIXELS, "größe/(cm)": np.array([1.5, np.nan, 3], np.float32)}
    again = Examples.unpack(Examples(tensors, [b"a", b"", b"bcd"]).pack())
    assert [*again.tensors] == [*tensors] and again.count == 3
    for name, values in tensors.items():
        np.testing.assert_array_equal(again.tensors[name], values)
        assert again.tensors[name].dtype == values.dtype
    assert again.serialized == [b"a", b"", b"bcd"]
    with pytest.raises(ValueError, match="as many serialized as tensors or none, got 1 and 3"):
        Examples(TENSORS, [b"a"])
    with pytest.raises(ValueError, match="got 0 and 2, 3"):
        Examples(TENSORS | {"other": PIXELS[:2]})
    with pytest.raises(ValueError, match="got 0 and no input"):
        Examples({})


def test_the_package_imports_no_runtime() -> None:
    code = "import modules.export.runtimes, sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"tensorflow", "keras", "ai_edge_litert", "scipy", "pydantic"}
    assert "numpy" in found and not heavy & set(found)
