"""What the tests of several components need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def beam_executor(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type], Any]:
    """A function that makes an executor with the Beam arguments of a local run."""

    def make(executor_class: type) -> Any:
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

        from modules.settings import RuntimeSettings
        from pipeline.beam_arguments import beam_arguments

        directory = str(tmp_path_factory.mktemp("executor"))
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=beam_arguments(RuntimeSettings(), "local", directory),
            tmp_dir=directory,
            unique_id="1",
        )
        return executor_class(context)

    return make


@pytest.fixture(scope="session")
def artifact() -> Callable[[type, Path], Any]:
    """A function that makes an artifact of a type at a directory."""

    def make(artifact_type: type, directory: Path | str) -> Any:
        made = artifact_type()
        made.uri = str(directory)
        return made

    return make
