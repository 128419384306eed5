"""Augmentation of images: every change is a function of (example, view, seed) and nothing else.

So a view can be made again: the teacher's answers to it are computed once, and the student sees
the very same pixels (Beyer et al. 2022, "A good teacher is patient and consistent"). The random
numbers are hashes, which give the same on every device and in any order of examples.
"""

from __future__ import annotations

import tensorflow as tf

from modules.data.spec import DataSpec
from modules.errors import ConfigError
from modules.settings import AugmentSettings

_GRAY = 128


def check_augmentation(settings: AugmentSettings, spec: DataSpec) -> None:
    """Refuse changes that the data do not allow.

    Raises:
      ConfigError: There is no image, or mixup of what cannot be mixed.
    """
    if settings.active and not spec.images:
        raise ConfigError(
            "augment must not be set without an image among the features, which are "
            f"{', '.join(spec.by_name)}; remove it"
        )
    if settings.mixup and (
        len(spec.images) < len(spec.inputs) or spec.output.task not in ("classification", "binary")
    ):
        raise ConfigError(
            "augment.mixup must be 0 unless all features are images and the task is classification "
            f"or binary, got {settings.mixup:g}; remove it"
        )


def augment_inputs(
    inputs: dict[str, tf.Tensor],
    spec: DataSpec,
    ids: tf.Tensor,
    views: tf.Tensor,
    settings: AugmentSettings,
    seed: int,
) -> dict[str, tf.Tensor]:
    """One view of each example: its images changed alike, everything else as it is."""
    images = {
        each.name: augment(inputs[each.name], ids, views, settings, seed) for each in spec.images
    }
    return inputs | images


def augment(
    pixels: tf.Tensor, ids: tf.Tensor, views: tf.Tensor, settings: AugmentSettings, seed: int
) -> tf.Tensor:
    """One view of each image, by pad-crop, flip and cutout.

    Args:
      pixels: `uint8 [b, height, width, channels]`.
      ids: Example ids, strings `[b]`.
      views: Which view, integers `[b]`.
      settings: What is changed, and how far.
      seed: Another seed, other views.

    Returns:
      `uint8`, shaped as `pixels`.
    """
    keys = view_keys(ids, views, seed)
    if settings.pad_crop:
        pixels = _pad_crop(pixels, keys, settings.pad_crop)
    if settings.flip:
        mirrored = below(keys, "flip", 2) == 1
        pixels = tf.where(mirrored[:, None, None, None], tf.reverse(pixels, [2]), pixels)
    if settings.cutout:
        pixels = _cutout(pixels, keys, settings.cutout)
    return pixels


def partners(labeled: tf.Tensor) -> tf.Tensor:
    """With whom each example of a batch is mixed: its predecessor among those of its kind.

    What is mixed of a labeled and an unlabeled image would have half a label.

    Args:
      labeled: Booleans `[b]`.

    Returns:
      Indices `int64 [b]`.
    """
    kinds = [tf.reshape(tf.where(chosen), [-1]) for chosen in (labeled, ~labeled)]
    others = tf.concat([tf.roll(kind, 1, axis=0) for kind in kinds], axis=0)
    return tf.gather(others, tf.argsort(tf.concat(kinds, axis=0)))


def mix(
    pixels: tf.Tensor, truth: tf.Tensor, others: tf.Tensor, keys: tf.Tensor, largest: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixup (Zhang et al. 2018, 1710.09412) of each example with another one of the batch.

    Args:
      pixels: `uint8 [b, height, width, channels]`.
      truth: Labels as probabilities `[b, classes]`.
      others: From `partners`.
      keys: From `view_keys`; decide the shares.
      largest: The other image's largest share; shares are uniform between 0 and it.

    Returns:
      Mixed pixels and labels, shaped as they came.
    """
    share = tf.cast(below(keys, "mixup", 1_000_001), tf.float32) / 1e6 * largest
    wide = share[:, None, None, None]
    images = tf.cast(pixels, tf.float32)
    mixed = tf.round((1 - wide) * images + wide * tf.gather(images, others))
    blended = (1 - share[:, None]) * truth + share[:, None] * tf.gather(truth, others)
    return tf.saturate_cast(mixed, tf.uint8), blended


def view_keys(ids: tf.Tensor, views: tf.Tensor, seed: int) -> tf.Tensor:
    """What all random numbers of a view are hashed from, strings `[b]`."""
    return tf.strings.join([ids, tf.strings.as_string(views), str(seed)], separator="/")


def below(keys: tf.Tensor, purpose: str, limit: int) -> tf.Tensor:
    """A random integer of `0 … limit - 1` for each key, `int32 [b]`; another for each purpose."""
    hashed = tf.strings.to_hash_bucket_fast(tf.strings.join([keys, purpose], "/"), limit)
    return tf.cast(hashed, tf.int32)


def _pad_crop(pixels: tf.Tensor, keys: tf.Tensor, pad: int) -> tf.Tensor:
    """Pads with black and takes a window of the old size at a random place."""
    _, height, width, _ = pixels.shape
    padded = tf.pad(pixels, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    rows = below(keys, "row", 2 * pad + 1)[:, None] + tf.range(height)
    columns = below(keys, "column", 2 * pad + 1)[:, None] + tf.range(width)
    by_row = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(by_row, columns, axis=2, batch_dims=1)


def _cutout(pixels: tf.Tensor, keys: tf.Tensor, side: int) -> tf.Tensor:
    """Grays a square around a random pixel (DeVries & Taylor 2017, 1708.04552)."""
    _, height, width, _ = pixels.shape

    def covered(size: int, purpose: str) -> tf.Tensor:
        start = below(keys, purpose, size)[:, None] - side // 2
        place = tf.range(size)
        return (place >= start) & (place < start + side)

    hole = covered(height, "cutout_row")[:, :, None] & covered(width, "cutout_column")[:, None, :]
    return tf.where(hole[..., None], tf.constant(_GRAY, tf.uint8), pixels)
