"""What the tests of the pipeline need."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def run_in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`run`, `init` and `inspect` in pytest's own process, whose logging is restored."""
    for command in ("main", "data"):
        name = f"pipeline.cli.{command}.supervised"
        monkeypatch.setattr(name, lambda work, log_file=None: work())
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
