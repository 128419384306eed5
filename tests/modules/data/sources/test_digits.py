"""The embedded digits."""

import numpy as np
import pytest
import tensorflow as tf

from modules.data.sources.digits import Digits
from modules.errors import ConfigError
from modules.settings import DataSettings


def test_digits_are_scikit_learns(digit_pixels, digit_labels):
    source = Digits()
    items = source.items()
    assert len(items) == 1797
    assert source.labels == tuple("0123456789")
    assert [item.label for item in items] == digit_labels.tolist()
    assert len({item.name for item in items}) == 1797
    for index in range(0, 1797, 40):
        decoded = tf.io.decode_png(source.read(items[index].name))
        np.testing.assert_array_equal(decoded, digit_pixels[index])
    assert digit_pixels.max() == 255 and digit_pixels.min() == 0  # 16 and 0, scaled


def test_digits_have_no_path():
    Digits.check(DataSettings())
    with pytest.raises(ConfigError, match=r"data\.path must not be set .* got 'pictures'"):
        Digits.check(DataSettings(path="pictures"))
