"""Shared by the tests of the modules: the real digits, and a graph of features of every kind."""

import numpy as np
import pytest


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
def mixed_graph(tmp_path_factory):
    """A transform graph of features of every kind, of 60 rows, with its specification."""
    from pushed_models import make_graph

    return make_graph(tmp_path_factory.mktemp("mixed") / "graph", "classification")
