"""Encoded images: which files are taken for one, and whether they can be decoded."""

from __future__ import annotations

from modules.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# The first bytes of the two formats that can be decoded; the suffix alone proves nothing.
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def check_image(name: str, image: bytes, channels: int = 1) -> None:
    """Refuses what could not be trained on, with the decoder that `Transform` will use.

    Args:
      name: For the message.
      image: The file's bytes.
      channels: `data.channels`, or 0 for those of the file; not every file can be decoded to
        every number (CMYK).

    Raises:
      DataError: Not a readable PNG or JPEG.
    """
    import tensorflow as tf

    if not image.startswith(_MAGIC):
        raise DataError(f"{name}: not a PNG or JPEG file ({len(image)} bytes)")
    try:
        tf.io.decode_image(image, channels=channels, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("\n")[0].split(" [Op:")[0].split("}} ")[-1]
        raise DataError(f"{name}: the image cannot be decoded ({reason})") from None
