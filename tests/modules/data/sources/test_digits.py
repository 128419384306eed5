"""The digits that come with scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from modules.data.sources.digits import Digits, digits
from modules.errors import ConfigError
from modules.settings import DataSettings


def test_every_digit_is_a_png_with_all_gray_levels():
    bunch = load_digits()
    found = list(digits())
    assert [label for _, label in found] == bunch.target.tolist()
    for index in (0, 1000, 1796):
        pixels = tf.io.decode_png(found[index][0]).numpy()
        np.testing.assert_array_equal(pixels[..., 0], np.rint(bunch.images[index] * 255 / 16))


@pytest.mark.parametrize("key", ["path", "label", "group", "unlabeled"])
def test_what_digits_do_not_have_is_refused(key):
    with pytest.raises(ConfigError, match=rf"data\.{key} must not be set .* is digits, got 'x'"):
        Digits.check(DataSettings(**{key: "x"}))
