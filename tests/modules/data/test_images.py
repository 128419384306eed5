"""Which files can be decoded, by the decoder itself."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from modules.data.images import check_image
from modules.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
PNG = tf.io.encode_png(PIXELS).numpy()
JPEG = tf.io.encode_jpeg(PIXELS).numpy()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_png_passes(channels, dtype):
    image = tf.io.encode_png(np.ones((3, 3, channels), dtype)).numpy()
    check_image("a.png", image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", r"not a PNG or JPEG file \(0 bytes\)"),
        (b"these are words", r"not a PNG or JPEG file \(15 bytes\)"),
        (b"GIF89a" + bytes(20), r"not a PNG or JPEG file \(26 bytes\)"),
        (PNG[:40], r"cannot be decoded \(Invalid PNG.*\)"),
        (PNG[:-30], r"cannot be decoded \(Invalid PNG.*\)"),
        (JPEG[: len(JPEG) // 2], r"cannot be decoded \(.*JPEG.*\)"),
    ],
    ids=["empty", "text", "gif", "header", "truncated png", "truncated jpeg"],
)
def test_broken_image_is_named_in_one_line(image, reason):
    with pytest.raises(DataError, match=rf"^data/cat/7\.png: .*{reason}$") as caught:
        check_image("data/cat/7.png", image)
    message = str(caught.value)
    assert "\n" not in message and "function_node" not in message and "Op:" not in message


def test_cmyk_jpeg_that_transform_cannot_make_gray_is_refused(tmp_path):
    path = tmp_path / "print.jpg"
    Image.fromarray(PIXELS).convert("CMYK").save(path)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_image(path.read_bytes(), channels=1)
    with pytest.raises(DataError):
        check_image(str(path), path.read_bytes())


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
        check_image("a.png", image)


def test_a_large_picture_is_decoded():
    check_image("a.png", _png_of(4000, 3000))
