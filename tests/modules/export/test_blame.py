"""modules.export.blame: layers out of the names of operations."""

from __future__ import annotations

import keras
import pytest

from modules.export.blame import blamed_layers, unsupported_paths


@pytest.fixture(scope="module")
def model() -> keras.Model:
    x = keras.Input((6,), name="x")
    inner_x = keras.Input((4,), name="inner_x")
    norm = keras.layers.LayerNormalization(name="norm_1")(inner_x)
    inner = keras.Model(inner_x, norm, name="inner")
    hidden = inner(keras.layers.Dense(4, name="hidden")(x))
    rows = keras.layers.Reshape((2, 2), name="rows")(hidden)
    return keras.Model(x, keras.layers.LSTM(3, name="memory")(rows), name="mine")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (
            ["mine_1/inner_1/norm_1_1/mul"],
            " in the layer norm_1 (LayerNormalization: BatchNormalization has integers)",
        ),
        (["mine_1/inner_1/add"], " in the layer inner (Functional)"),
        (
            ["mine/memory_1/while/TensorList"],
            " in the layer memory (LSTM: build it with unroll=True)",
        ),
        (
            ["mine_1/hidden_1/MatMul;mine_1/rows_1/Reshape", "mine_1/hidden_1/Relu"],
            " in the layers hidden (Dense), rows (Reshape)",
        ),
        (["mine_1/sin", "tfl.quantize"], ""),
        ([], ""),
    ],
)
def test_the_innermost_layers_are_named_once(
    model: keras.Model, paths: list[str], words: str
) -> None:
    assert blamed_layers(model, paths) == words


def test_paths_of_the_converter_s_message() -> None:
    call = 'fused["StatefulPartitionedCall:", "StatefulPartitionedCall@__inference_serve_1"]'
    message = (
        f'loc(callsite(fused["Erfinv:", "mine_1/odd_1/Erfinv@__inference_serve_7"] at {call}))'
    )
    assert unsupported_paths(message) == ["mine_1/odd_1/Erfinv"]
    assert unsupported_paths("something else") == []
