"""Encoded images: which files are taken for one, and whether they can be decoded."""

from __future__ import annotations

import io
import warnings

from modules.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# A picture of 48 kB may be 20,000 pixels wide and high, and takes 2.4 GB when it is decoded.
MAX_PIXELS = 100_000_000
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
    if _is_too_large(image):
        raise DataError(f"{name}: more than {MAX_PIXELS:,} pixels; scale it down")
    try:
        tf.io.decode_image(image, channels=channels, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("\n")[0].split(" [Op:")[0].split("}} ")[-1]
        raise DataError(f"{name}: the image cannot be decoded ({reason})") from None


def _is_too_large(image: bytes) -> bool:
    """By the header alone; what is wrong with a broken one, the decoder says better."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image)) as header:
                return header.width * header.height > MAX_PIXELS
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):
        return False
