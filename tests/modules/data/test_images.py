"""Images as cameras and scanners write them, as TensorFlow decodes them after `plain_image`."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from modules.data.images import decode_image, is_image, plain_image
from modules.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
PNG = tf.io.encode_png(PIXELS).numpy()
JPEG = tf.io.encode_jpeg(PIXELS).numpy()


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seen(image: bytes, channels: int = 3) -> np.ndarray:
    """What Transform sees."""
    return decode_image("a.png", plain_image("a.png", image), channels)


@pytest.mark.parametrize(
    "image",
    [
        PNG,
        JPEG,
        tf.io.encode_png(PIXELS[..., :1]).numpy(),
        tf.io.encode_jpeg(PIXELS[..., :1]).numpy(),
        encoded(Image.fromarray(PIXELS).convert("P"), "PNG"),
        encoded(Image.fromarray(PIXELS).convert("1"), "PNG"),
    ],
    ids=["png", "jpeg", "gray png", "gray jpeg", "palette", "black and white"],
)
def test_what_is_plain_stays_byte_for_byte(image):
    assert plain_image("a", image) is image


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP"])
def test_other_formats_are_read(kind):
    gray = np.repeat(PIXELS[..., :1], 3, axis=-1)
    image = encoded(Image.fromarray(gray), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert is_image(image)
    np.testing.assert_array_equal(seen(image), gray)


def test_of_several_frames_the_first_is_read():
    first, second = (Image.new("L", (3, 2), level) for level in (10, 200))
    image = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(seen(image, 1), np.full((2, 3, 1), 10))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (6, lambda p: np.rot90(p, -1)),
        (8, lambda p: np.rot90(p)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(kind, orientation, upright):
    # Even areas, so that a JPEG is exact enough.
    pixels = np.zeros((32, 16, 3), np.uint8)
    pixels[:16] = 200
    pixels[16:, 8:] = 90
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    image = encoded(Image.fromarray(pixels), kind, exif=exif.tobytes(), **options)
    found = seen(image).astype(int)
    assert np.abs(found - upright(pixels)).mean() < 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "tRNS"])
def test_what_is_transparent_is_white(mode):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (100, 100, 100, 255)
    image = Image.fromarray(rgba)
    if mode == "tRNS":
        image = encoded(image.convert("RGB"), "PNG", transparency=(0, 0, 0))
    else:
        image = encoded(image.convert({"PA": "P"}.get(mode, mode)), "PNG")
    expected = np.full((2, 2, 3), 255)
    expected[0, 0] = 100
    np.testing.assert_array_equal(seen(image), expected)


def test_half_transparent_is_mixed_with_white():
    image = encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 51)), "PNG")
    np.testing.assert_array_equal(seen(image), np.full((1, 1, 3), 204))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_and_not_cut(channels):
    # The high byte of 255 is 0, and 255 / 257 is 1.
    wide = np.array([0, 255, 257, 32_768, 65_535], np.uint16).reshape(1, 5, 1)
    image = tf.io.encode_png(np.repeat(wide, channels, axis=-1)).numpy()
    np.testing.assert_array_equal(seen(image)[0, :, 0], [0, 1, 1, 128, 255])


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bits_with_transparency(channels):
    wide = np.zeros((1, 1, channels), np.uint16)
    image = tf.io.encode_png(wide).numpy()
    np.testing.assert_array_equal(seen(image), np.full((1, 1, 3), 255))


def test_cmyk_is_converted(tmp_path):
    red = encoded(Image.new("RGB", (8, 8), (200, 30, 30)).convert("CMYK"), "JPEG")
    for channels in (1, 3):
        assert seen(red, channels).shape == (8, 8, channels)
    assert np.abs(seen(red)[4, 4].astype(int) - (200, 30, 30)).max() < 5


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", r"not a PNG, JPEG, WebP, BMP or GIF file \(0 bytes\)"),
        (b"these are words", r"not a PNG.*file \(15 bytes\)"),
        (b"BM are words, too", r"not a PNG.*file \(17 bytes\)"),
        (PNG[:40], r"cannot be decoded \(.*\)"),
        (PNG[:-30], r"cannot be decoded \(Invalid PNG.*\)"),
        (JPEG[: len(JPEG) // 2], r"cannot be decoded \(.*\)"),
        (encoded(Image.fromarray(PIXELS), "GIF")[:30], r"cannot be decoded \(.*\)"),
        (encoded(Image.fromarray(PIXELS), "WEBP")[:30], r"cannot be decoded \(.*\)"),
        (encoded(Image.new("RGBA", (50, 50)), "PNG")[:-40], r"cannot be decoded \(.*\)"),
    ],
)
def test_broken_image_is_named_in_one_line(image, reason):
    with pytest.raises(DataError, match=rf"^data/cat/7\.png: .*{reason}$") as caught:
        decode_image("data/cat/7.png", plain_image("data/cat/7.png", image))
    message = str(caught.value)
    assert "\n" not in message and "function_node" not in message and "Op:" not in message


def _png_of(width: int, height: int) -> bytes:
    """A small file of many pixels: the rows are all alike, and compress a thousandfold."""
    rows = zlib.compress((b"\0" * (width // 8 + 1)) * height, 9)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [10_001, 20_000])
def test_a_picture_too_large_to_decode_is_refused_by_its_header(side):
    image = _png_of(side, side)
    assert len(image) < 100_000
    with pytest.raises(DataError, match=r"^a\.png: more than 100,000,000 pixels; scale it down$"):
        plain_image("a.png", image)


def test_a_large_picture_is_decoded():
    assert seen(_png_of(4000, 3000), 1).shape == (3000, 4000, 1)
