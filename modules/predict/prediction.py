"""Answers of pushed models to image files, one batch of files after another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modules.data.images import IMAGE_SUFFIXES, decode_image, plain_image
from modules.errors import ConfigError, DataError, ModelError, UserError
from modules.export import runtimes
from modules.files import LocalCopies
from modules.predict.pushed_models import PushedModel

# TensorFlow is imported where it is first needed: wrong arguments are refused before it is loaded.

BATCH_SIZE = 32  # images in memory at a time
AS_IN_THE_FILE = 0  # channels
# Encoded images to float logits `[n, classes]`.
_Ask = Callable[[Sequence[bytes]], NDArray[np.float32]]


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


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the images below the directories among them, in order.

    A directory stands for its PNG and JPEG files at any depth, sorted, without hidden ones. A file
    that is named may have any suffix.

    Raises:
      ConfigError: A path does not exist, or a directory has no image; a line for each.
    """
    images: list[Path] = []
    problems = []
    for path in paths:
        found = sorted(_below(path)) if path.is_dir() else [path]
        if not found:
            problems.append(f"IMAGE: {path} must have .png, .jpg or .jpeg files, but has none")
        elif not path.exists():
            problems.append(f"IMAGE: there is no file or directory {path}")
        images += found
    if problems:
        raise ConfigError("\n".join(problems))
    return images


def check_images(images: Sequence[Path], channels: int = AS_IN_THE_FILE) -> None:
    """Decode every file, one at a time.

    Args:
      images: Files.
      channels: What each of them must be decodable to.

    Raises:
      ConfigError: Some cannot be read or decoded; a line for each.
    """
    problems = []
    for path in images:
        try:
            image = plain_image(str(path), path.read_bytes())
            decode_image(str(path), image, channels)
        except OSError as error:
            problems.append(f"IMAGE: {path} cannot be read ({error.strerror})")
        except DataError as error:
            problems.append(f"IMAGE: {error}; leave it out, or give a PNG or JPEG file")
    if problems:
        raise ConfigError("\n".join(problems))


def predict(
    models: Sequence[PushedModel], images: Sequence[Path], top_k: int
) -> Iterator[list[Answer]]:
    """The models' answers, image by image, in batches of `BATCH_SIZE` images.

    Args:
      models: From `pushed_models.find_models`; what is at a URL is copied first.
      images: PNG or JPEG files that `check_images` has passed.
      top_k: Number of classes; no more are given than there are.

    Raises:
      ModelError: A model cannot be loaded, or its manifest names another number of classes.
      UserError: An image can no longer be read.
    """
    import tensorflow as tf

    with LocalCopies() as copies:
        opened = [(model, _open(model, copies)) for model in models]
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            try:
                encoded = [plain_image(str(path), path.read_bytes()) for path in batch]
                tops = [_top(model, ask(encoded), top_k) for model, ask in opened]
            except OSError as error:
                raise UserError(
                    f"{error}; leave the images in place until all are answered"
                ) from error
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


def _below(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _open(model: PushedModel, copies: LocalCopies) -> _Ask:
    import tensorflow as tf

    runtime = runtimes.SAVED_MODEL if model.file is None else runtimes.LITERT
    try:
        loaded = runtimes.load(runtime, copies.to_read(model.path))
    except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
        raise ModelError(
            f"{model.path} cannot be loaded ({_reason(error)}); push the model again"
        ) from error
    if model.file is None:
        # Preprocessing is part of the graph, which takes the encoded files.
        return lambda encoded: loaded.answer([_example(image) for image in encoded])
    shape = model.input_shape
    assert shape is not None  # `find_models` has checked it
    return lambda encoded: loaded.answer(np.stack([_pixels(image, shape) for image in encoded]))


def _pixels(image: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The pixels as Transform makes them."""
    from modules.data.preprocessing import image_pixels

    return image_pixels(image, shape).numpy()


def _example(image: bytes) -> bytes:
    """A serving request: a serialized `tf.train.Example` that holds the image alone."""
    import tensorflow as tf

    from modules.data.preprocessing import IMAGE

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    features = tf.train.Features(feature={IMAGE: feature})
    return bytes(tf.train.Example(features=features).SerializeToString())


def _top(model: PushedModel, logits: NDArray[np.float32], top_k: int) -> list[tuple[Guess, ...]]:
    """The most probable classes of each image; ties go to the lower index."""
    from scipy.special import softmax

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
    """One line: TensorFlow puts the reason below the stack and above the name of the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "[[" not in line]
    return lines[-1] if lines else repr(error)
