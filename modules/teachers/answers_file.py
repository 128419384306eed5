"""A teacher that is a file of answers: Parquet, NPZ or TFRecord, from ids to answers.

Its columns, whatever the format:

- `example_id` (64 hexadecimal digits, as in the pipeline's examples) or `id` (what `data.id` has);
- one of `logits`, `probabilities`, `values`: a list of numbers;
- for the largest k of many classes also `classes`: their places in the teacher's order. What is
  left of the probability is shared evenly among the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from modules import files
from modules.data.splits import example_id
from modules.errors import DataError
from modules.teachers.answer_store import AnswerStore
from modules.teachers.labels import SMALLEST, Conversion

_AT_ONCE = 4096
_IDS = ("example_id", "id")
_ANSWERS = ("logits", "probabilities", "values")
_CLASSES = "classes"

# A column as rows: of ids, of lists of numbers.
Columns = dict[str, list[Any]]


def read_answers(path: str, store: AnswerStore, conversion: Conversion) -> str:
    """Put the answers of a file into a store.

    Args:
      path: Of the file.
      store: Where they go.
      conversion: Of answers to logits; what it says of probabilities, the file's column overrides.

    Returns:
      Which column the answers were in.

    Raises:
      DataError: It cannot be read, or lacks a column.
    """
    column = ""
    try:
        for columns in _batches(path):
            column = _only(columns, _ANSWERS, path)
            ids = _ids(columns[_only(columns, _IDS, path)], path, _only(columns, _IDS, path))
            kept = _rows(columns, column, conversion.labels.size, path)
            store.add(ids, _conversion(conversion, column, columns).logits(kept))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise DataError(
            f"{conversion.key}.answers cannot be read: {path}: "
            f"{' '.join(str(error).split())[:300]}; correct the file"
        ) from error
    if not column:
        raise DataError(f"{conversion.key}.answers must hold answers, but {path} is empty")
    return column


def _conversion(conversion: Conversion, column: str, columns: Columns) -> Conversion:
    # The largest few become probabilities of all, whatever they were.
    probabilities = column == "probabilities" or _CLASSES in columns
    returns: Any = "probabilities" if probabilities else "logits"
    return Conversion(conversion.output, conversion.labels, returns, f"{conversion.key}.answers")


def _batches(path: str) -> Iterator[Columns]:
    suffix = path.rpartition(".")[2].lower()
    if suffix == "parquet":
        return _parquet(path)
    if suffix == "npz":
        return _npz(path)
    if suffix in ("tfrecord", "tfrecords"):
        return _tfrecord(path)
    raise ValueError("its name must end with .parquet, .npz or .tfrecord")


def _parquet(path: str) -> Iterator[Columns]:
    import pyarrow.parquet as pq

    with files.LocalCopies() as copies:
        table = pq.ParquetFile(copies.to_read(path))
        wanted = [name for name in table.schema_arrow.names if name in _KNOWN]
        for batch in table.iter_batches(_AT_ONCE, columns=wanted):
            yield batch.to_pydict()


def _npz(path: str) -> Iterator[Columns]:
    with files.LocalCopies() as copies, np.load(copies.to_read(path)) as content:
        arrays = {name: content[name] for name in content.files if name in _KNOWN}
    for start in range(0, max(map(len, arrays.values()), default=0), _AT_ONCE):
        yield {name: list(array[start : start + _AT_ONCE]) for name, array in arrays.items()}


def _tfrecord(path: str) -> Iterator[Columns]:
    for records in tf.data.TFRecordDataset(path).batch(_AT_ONCE).as_numpy_iterator():
        columns: Columns = {}
        for record in records:
            features = tf.train.Example.FromString(record).features.feature
            for name in _KNOWN:
                if name in features:
                    values = list(getattr(features[name], features[name].WhichOneof("kind")).value)
                    columns.setdefault(name, []).append(values[0] if name in _IDS else values)
        yield columns


_KNOWN = (*_IDS, *_ANSWERS, _CLASSES)


def _only(columns: Columns, known: tuple[str, ...], path: str) -> str:
    found = [name for name in known if name in columns]
    if len(found) != 1:
        raise DataError(
            f"{path} must have one of the columns {', '.join(known)}, got "
            f"{' and '.join(found) or ', '.join(columns) or 'none'}; rename its columns"
        )
    return found[0]


def _ids(values: list[Any], path: str, column: str) -> list[bytes]:
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    if column == "id":
        return [example_id(text) for text in texts]
    if odd := next((text for text in texts if len(text) != 64), None):
        raise DataError(
            f"{path}: example_id must have 64 hexadecimal digits, got {odd!r}; name the column id "
            "if it holds what data.id names"
        )
    return texts


def _rows(columns: Columns, column: str, size: int, path: str) -> NDArray[Any]:
    """Answers `[b, n]`; of the largest few, the probabilities of all."""
    rows = columns[column]
    if len({np.size(row) for row in rows}) != 1:
        raise DataError(f"{path}: all lists of {column} must be of one length; correct the file")
    answers = np.array(rows, np.float64).reshape(len(rows), -1)
    if _CLASSES not in columns:
        return answers
    places = np.array(columns[_CLASSES], np.int64).reshape(answers.shape)
    if places.min() < 0 or places.max() >= size:
        raise DataError(
            f"{path}: classes must be from 0 to {size - 1}, got {places.min()} to {places.max()}"
        )
    shares = answers if column == "probabilities" else np.exp(answers)
    total = shares.sum(axis=1, keepdims=True)
    if not (total <= 1 + 1e-3).all():
        raise DataError(
            f"{path}: the largest few {column} must be "
            f"{'log-probabilities' if column == 'logits' else 'probabilities'}, whose sum is at "
            f"most 1, got {total.max():.3g}; divide them by the sum over all classes"
        )
    others = max(size - answers.shape[1], 1)
    full = np.repeat(np.maximum((1 - total) / others, SMALLEST), size, axis=1)
    np.put_along_axis(full, places, shares, axis=1)
    return full / full.sum(axis=1, keepdims=True)
