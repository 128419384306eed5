"""What the tests of the pipeline need."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def run_in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`tfx-distill run` in pytest's own process, which has its logging back afterwards."""
    monkeypatch.setattr("pipeline.cli.main.supervised", lambda work, log_file: work())
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
