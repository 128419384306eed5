"""Which layers an operation comes from that TFLite does not have, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

# What the converter says of an operation: its name, and the path of the layers around it.
_LOCATION = re.compile(r'fused\["(\w+):", "([^"@]+)@')
_REMEDIES = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN"), "build it with unroll=True"),
    **dict.fromkeys(
        ("LayerNormalization", "GroupNormalization", "RMSNormalization"),
        "BatchNormalization has integers",
    ),
}


def blamed_layers(model: Any, paths: Iterable[str]) -> str:
    """The innermost layers in the paths of some operations, in words.

    Args:
      model: A Keras model.
      paths: Such as `model_1/norm_1/mul;model_1/dense_1/MatMul`: Keras enters each scope twice, so
        that it has a number of its own.

    Returns:
      For example ` in the layer norm (LayerNormalization: BatchNormalization has integers)`, or
      nothing if no layer of the model is named.
    """
    kinds = {layer.name: type(layer).__name__ for layer in model._flatten_layers()}
    kinds.pop(model.name, None)
    names = dict.fromkeys(
        name for path in paths for part in path.split(";") for name in _innermost(part, kinds)
    )
    found = []
    for name in names:
        remedy = _REMEDIES.get(kinds[name])
        found.append(f"{name} ({kinds[name]}{f': {remedy}' if remedy else ''})")
    return f" in the layer{'s' if len(found) > 1 else ''} {', '.join(found)}" if found else ""


def unsupported_paths(message: str) -> list[str]:
    """The paths of the operations that the converter names in its message."""
    return [path for operation, path in _LOCATION.findall(message) if "Call" not in operation]


def _innermost(path: str, kinds: dict[str, str]) -> Iterator[str]:
    for scope in reversed(path.split("/")):
        for name in (re.sub(r"_\d+$", "", scope), scope):
            if name in kinds:
                yield name
                return
