"""Shared by the tests of the modules: the real digits, and Transform run in memory on them."""

from itertools import islice

import numpy as np
import pytest

from modules.data.spec import Dataset, OutputSpec
from modules.settings import DataSettings


@pytest.fixture(scope="session")
def digit_pixels():
    """All digits as `uint8 [1797, 8, 8, 1]`, straight from scikit-learn."""
    from sklearn.datasets import load_digits

    return np.rint(load_digits().images * 255 / 16).astype(np.uint8)[..., None]


@pytest.fixture(scope="session")
def digit_labels():
    from sklearn.datasets import load_digits

    return load_digits().target.astype(np.int64)


@pytest.fixture(scope="session")
def digits_dataset():
    """What ExampleGen says of the digits."""
    classes = tuple(str(digit) for digit in range(10))
    return Dataset(output=OutputSpec(task="classification", size=10, classes=classes))


@pytest.fixture(scope="session")
def transformed_digits(digits_dataset, tmp_path_factory):
    """The first 200 digits as ExampleGen writes them, through Transform."""
    from transforming import transform

    from modules.data.sources.digits import digits
    from modules.data.splits import example_id

    rows = [
        {
            "image": image,
            "label": label,
            "class_name": str(label).encode(),
            "example_id": example_id(image),
        }
        for image, label in islice(digits(), 200)
    ]
    return transform(rows, DataSettings(), digits_dataset, tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def mixed_graph(tmp_path_factory):
    """A transform graph of features of every kind, of 60 rows, with its specification."""
    from pushed_models import make_graph

    return make_graph(tmp_path_factory.mktemp("mixed") / "graph", "classification")
