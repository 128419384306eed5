"""Which files can be decoded, by the decoder itself."""

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
