"""Answers of pushed models to image files, one batch of files after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.special import softmax

from modules.data.preprocessing import IMAGE, image_pixels
from modules.errors import ModelError, UserError
from modules.export import runtimes
from modules.predict.pushed_models import PushedModel

BATCH_SIZE = 32  # images in memory at a time
# Encoded images to float logits `[n, classes]`.
_Ask = Callable[[Sequence[bytes]], np.ndarray]


@dataclass(frozen=True)
class Guess:
    """A class, its index among the logits, and its probability."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Answer:
    """What one model says of one image: the most probable classes, the first first."""

    image: Path
    model: PushedModel
    top: tuple[Guess, ...]


def predict(
    models: Sequence[PushedModel], images: Sequence[Path], top_k: int
) -> Iterator[list[Answer]]:
    """The models' answers, image by image, in batches of `BATCH_SIZE` images.

    Args:
      models: From `pushed_models.find_models`.
      images: PNG or JPEG files that `image_files.check_images` has passed.
      top_k: Number of classes; no more are given than there are.

    Raises:
      ModelError: A model cannot be loaded, or its manifest names another number of classes.
      UserError: An image can no longer be read.
    """
    opened = [(model, _open(model)) for model in models]
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        try:
            encoded = [path.read_bytes() for path in batch]
            tops = [_top(model, ask(encoded), top_k) for model, ask in opened]
        except OSError as error:
            raise UserError(f"{error}; see that the images stay where they are") from error
        except tf.errors.OpError as error:
            raise UserError(
                f"one of the images from {batch[0]} to {batch[-1]} cannot be answered "
                f"({_reason(error)}); ask for fewer of them to find it"
            ) from error
        yield [
            Answer(image, model, top)
            for image, *of_models in zip(batch, *tops, strict=True)
            for model, top in zip(models, of_models, strict=True)
        ]


def _open(model: PushedModel) -> _Ask:
    try:
        return _open_saved_model(model) if model.file is None else _open_tflite(model)
    except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
        raise ModelError(
            f"{model.path} cannot be loaded ({_reason(error)}); push the model again"
        ) from error


def _open_saved_model(model: PushedModel) -> _Ask:
    """Preprocessing is part of the graph: it is given the files' own bytes."""
    loaded = runtimes.load(runtimes.SAVED_MODEL, str(model.path))
    return lambda encoded: loaded.answer([_example(image) for image in encoded])


def _open_tflite(model: PushedModel) -> _Ask:
    """Takes pixels, which are made as Transform makes them."""
    loaded, shape = runtimes.load(runtimes.LITERT, str(model.path)), model.input_shape
    assert shape is not None  # `find_models` has seen to it
    return lambda encoded: loaded.answer(
        np.stack([image_pixels(image, shape).numpy() for image in encoded])
    )


def _example(image: bytes) -> bytes:
    """A serving request: a serialized `tf.train.Example` that holds the image alone."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    features = tf.train.Features(feature={IMAGE: feature})
    return bytes(tf.train.Example(features=features).SerializeToString())


def _top(model: PushedModel, logits: np.ndarray, top_k: int) -> list[tuple[Guess, ...]]:
    """The most probable classes of each image; of equal ones the lower index first."""
    classes = logits.shape[1]
    labels = model.labels or tuple(str(index) for index in range(classes))
    if len(labels) != classes:
        raise ModelError(
            f"{model.path} answers with {classes} classes, but the manifest of version "
            f"{model.version} names {len(labels)}; push the model again"
        )
    probabilities = softmax(logits.astype(np.float64), axis=1)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return [
        tuple(Guess(labels[index], int(index), float(row[index])) for index in indices)
        for row, indices in zip(probabilities, order, strict=True)
    ]


def _reason(error: Exception) -> str:
    """One line; TensorFlow's reason stands below the stack, and above the name of the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "[[" not in line]
    return lines[-1] if lines else repr(error)
