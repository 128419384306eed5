"""Raw features as Transform delivers them: dense `[b, k]`, or sparse where numbers differ."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def as_sparse(raw: Any) -> tf.SparseTensor:
    """All values as texts, sparse `[b, k]`; empty strings are no values."""
    if isinstance(raw, tf.SparseTensor):
        texts = tf.SparseTensor(raw.indices, _as_text(raw.values), raw.dense_shape)
    else:
        texts = tf.sparse.from_dense(_as_text(raw))
    return tf.sparse.retain(texts, texts.values != "")


def first(raw: Any, default: Any) -> tf.Tensor:
    """The first value of each example, `[b]`; `default` where there is none."""
    if isinstance(raw, tf.SparseTensor):
        width = tf.maximum(raw.dense_shape[1], 1)
        raw = tf.sparse.to_dense(
            tf.SparseTensor(raw.indices, raw.values, [raw.dense_shape[0], width]), default
        )
    return tf.reshape(raw, [tf.shape(raw)[0], -1])[:, 0]


def padded(sparse: tf.SparseTensor, length: int) -> tf.Tensor:
    """`[b, length]` of sparse numbers: what is beyond is cut off, what is missing is 0."""
    ragged = tf.RaggedTensor.from_sparse(_packed(sparse))
    return tf.ensure_shape(ragged[:, :length].to_tensor(0, shape=[None, length]), [None, length])


def _packed(sparse: tf.SparseTensor) -> tf.SparseTensor:
    """The same values with the gaps in each row closed."""
    rows = sparse.indices[:, 0]
    order = tf.range(tf.size(rows, out_type=tf.int64))
    first_of_row = tf.searchsorted(rows, rows, side="left", out_type=tf.int64)
    columns = order - first_of_row
    return tf.SparseTensor(tf.stack([rows, columns], axis=1), sparse.values, sparse.dense_shape)


def _as_text(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.string else tf.strings.as_string(values)
