"""Tests of modules.judge.descriptions: raw examples in a few words."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from modules.data.eval_split import EvalBatch
from modules.judge.descriptions import describe_examples


def _record(**features: Any) -> bytes:
    made = {}
    for name, values in features.items():
        if isinstance(values[0], bytes):
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif isinstance(values[0], int):
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def _batch(**records: bytes) -> EvalBatch:
    ids = np.array([name.encode() for name in records], object)
    return EvalBatch(np.array([*records.values()], object), np.zeros(len(ids), int), ids)


def test_features_are_listed_by_name_without_what_is_ours() -> None:
    record = _record(
        carat=[0.5], cut=["prächtig".encode()], n=[3], label=[1], class_name=[b"x"],
        example_id=[b"a"], example_weight=[2.0],
    )  # fmt: skip
    found = describe_examples([_batch(a=record, b=record)], {"a"})
    assert found == {"a": "carat 0.5, cut prächtig, n 3"}


def test_what_is_no_text_is_left_out_and_what_is_long_is_cut() -> None:
    record = _record(
        image=[b"\x89PNG\x00\xff"], mark=[b"\x1b[31m"], text=[b"a\nb " * 100], many=[1.0] * 9
    )
    (text,) = describe_examples([_batch(a=record)], {"a"}).values()
    assert text.startswith("many 1 1 1 1 1 …, text a b a b")
    assert len(text) < 120


def test_reading_ends_when_all_are_found() -> None:
    def batches() -> Any:
        yield _batch(a=_record(x=[1]))
        raise AssertionError("read on")

    assert describe_examples(batches(), {"a"}) == {"a": "x 1"}
    assert describe_examples(batches(), set()) == {}
