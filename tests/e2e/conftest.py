"""Fixtures of the tests of the local KFP backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A failing comparison shows the two values.
pytest.register_assert_rewrite("beam_outputs")


@pytest.fixture
def backend(tmp_path: Path) -> Any:
    from kfp_backend import Backend

    return Backend(tmp_path / "scratch", sleep=lambda seconds: None)


@pytest.fixture
def execute(backend: Any, tmp_path: Path) -> Callable[..., Any]:
    def run(pipeline: Any, change: Any = None, **parameters: Any) -> Any:
        from kfp_components import compiled

        job = compiled(pipeline, tmp_path, change)
        return backend.run(job, pipeline_root=str(tmp_path / "root"), parameters=parameters)

    return run
