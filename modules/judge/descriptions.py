"""Raw examples in a few words, for people who look at what two models answer differently."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

import tensorflow as tf

from modules.data.eval_split import EvalBatch
from modules.data.spec import CLASS_NAME, EXAMPLE_ID, LABEL

_NOT_DESCRIBED = frozenset({LABEL, CLASS_NAME, EXAMPLE_ID, "example_weight"})
_MOST_VALUES, _MOST_LETTERS = 5, 80  # of one feature
_LONGEST = 300


def describe_examples(batches: Iterable[EvalBatch], ids: Set[str]) -> dict[str, str]:
    """A line such as `carat 0.5, cut Ideal` for each of some examples, by id.

    Features whose bytes are no text, such as images, are left out.

    Args:
      batches: Serialized examples.
      ids: Of the examples that are wanted.
    """
    found: dict[str, str] = {}
    for batch in batches if ids else ():
        for record, identity in zip(batch.examples, batch.ids, strict=True):
            name = identity.decode()
            if name in ids:
                found[name] = _described(tf.train.Example.FromString(record))
        if len(found) == len(ids):
            break
    return found


def _described(example: tf.train.Example) -> str:
    features = example.features.feature
    texts = {name: _text(features[name]) for name in sorted(features) if name not in _NOT_DESCRIBED}
    return _cut(", ".join(f"{name} {text}" for name, text in texts.items() if text), _LONGEST)


def _text(feature: Any) -> str:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    try:
        words = [
            each.decode() if kind == "bytes_list" else f"{each:.6g}"
            for each in values[:_MOST_VALUES]
        ]
    except UnicodeDecodeError:
        return ""
    shown = _cut(" ".join(" ".join(words).split()), _MOST_LETTERS)
    if not shown.isprintable():
        return ""
    return shown + (" …" if len(values) > _MOST_VALUES else "")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
