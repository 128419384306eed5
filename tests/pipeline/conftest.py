"""What the tests of the pipeline need."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def root_handlers() -> Iterator[None]:
    """A run takes over the process' logging; this gives pytest its own back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
