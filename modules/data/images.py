"""Encoded images: which files are taken for one, and what a decoder of PNG and JPEG makes of them.

TensorFlow decodes PNG and JPEG, and leaves out what a viewer applies: orientation, transparency,
the low byte of 16 bits. `plain_image` applies it, and converts other formats.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

from modules.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# A picture of 48 kB may be 20,000 pixels wide and high, and takes 2.4 GB when it is decoded.
MAX_PIXELS = 100_000_000
# The first bytes of the two formats that can be decoded; the suffix alone proves nothing.
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_STARTS = (_PNG, _JPEG, b"RIFF", b"GIF8", b"BM")
_ORIENTATION = 0x0112
_JPEG_QUALITY = 95
_FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "GIF"]


def is_image(content: bytes) -> bool:
    """Whether the first bytes are those of a PNG, JPEG, WebP, BMP or GIF file."""
    if not content.startswith(_STARTS):
        return False
    if content[:4] == b"RIFF":
        return content[8:12] == b"WEBP"
    return content[:2] != b"BM" or content[6:10] == bytes(4)


def plain_image(name: str, image: bytes) -> bytes:
    """A PNG or JPEG that decodes to what a person sees in a viewer.

    What is so already stays as it is, byte for byte. Else the first frame, turned as its EXIF
    orientation says, on white where it is transparent, 16 bits scaled to 8, CMYK as RGB.

    Args:
      name: For the message.
      image: The file's bytes.

    Raises:
      DataError: Not an image that can be read.
    """
    if not is_image(image):
        raise DataError(f"{name}: not a PNG, JPEG, WebP, BMP or GIF file ({len(image)} bytes)")
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise DataError(f"{name}: more than {MAX_PIXELS:,} pixels; scale it down")
                if _is_plain(image, opened):
                    return image
                return _encode(_as_seen(image, opened), opened.format)
    except Image.DecompressionBombError:
        raise DataError(f"{name}: more than {MAX_PIXELS:,} pixels; scale it down") from None
    except UnidentifiedImageError:
        reason = "its header is broken"
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = str(error)
    raise DataError(f"{name}: the image cannot be decoded ({reason})")


def decode_image(name: str, image: bytes, channels: int = 3) -> Any:
    """The pixels, by the decoder that `Transform` will use.

    Args:
      name: For the message.
      image: A PNG or JPEG file's bytes.
      channels: 1, 3, or 0 for those of the file.

    Returns:
      `uint8 [height, width, channels]`.

    Raises:
      DataError: Not a readable PNG or JPEG.
    """
    import tensorflow as tf

    try:
        pixels = tf.io.decode_image(image, channels=channels, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("\n")[0].split(" [Op:")[0].split("}} ")[-1]
        raise DataError(f"{name}: the image cannot be decoded ({reason})") from None
    return pixels.numpy()


def _is_plain(image: bytes, opened: Any) -> bool:
    if opened.format == "JPEG":
        return opened.mode in ("L", "RGB") and opened.getexif().get(_ORIENTATION, 1) == 1
    if opened.format == "PNG":
        # PIL decodes the whole image when it is asked for EXIF that is not there.
        return (
            opened.mode in ("1", "L", "P", "RGB")
            and "transparency" not in opened.info
            and not _has_16_bits(image)
            and b"eXIf" not in image
        )
    return False


def _has_16_bits(png: bytes) -> bool:
    return png.startswith(_PNG) and png[24] == 16


def _as_seen(image: bytes, opened: Any) -> Any:
    from PIL import Image, ImageOps

    orientation = opened.getexif().get(_ORIENTATION, 1)
    if _has_16_bits(image):
        # PIL reads the high bytes of colors only.
        opened = Image.fromarray(_scaled_to_8_bits(image))
        opened.getexif()[_ORIENTATION] = orientation
    seen = ImageOps.exif_transpose(opened)
    if seen.has_transparency_data:
        seen = seen.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        seen = Image.alpha_composite(white, seen)
    return seen.convert("L" if seen.mode in ("1", "L") else "RGB")


def _scaled_to_8_bits(png: bytes) -> Any:
    import numpy as np
    import tensorflow as tf

    try:
        wide = tf.io.decode_png(png, dtype=tf.uint16).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message.split("\n")[0].split("}} ")[-1]) from None
    # 65535 / 255 = 257.
    pixels = np.rint(wide / 257).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _encode(seen: Any, original: str | None) -> bytes:
    file = io.BytesIO()
    if original == "JPEG":
        seen.save(file, "JPEG", quality=_JPEG_QUALITY)
    else:
        seen.save(file, "PNG")
    return file.getvalue()
