"""Wires the executor into TFX's own ExampleGen components.

The stock components bring the drivers: the file-based one fingerprints the files, so that changed
ones are read again and unchanged ones are served from the cache, and fills in `{SPAN}` and
`{VERSION}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from tfx.components.example_gen.component import FileBasedExampleGen, QueryBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.proto import example_gen_pb2

from components.example_gen.executor import Executor, pack_settings
from components.run_parameters import Parameters
from modules.data.sources.protocol import Part
from modules.data.sources.registry import SOURCES
from modules.data.splits import EVAL, TRAIN
from modules.settings import DataSettings, Task


class FilesExampleGen(FileBasedExampleGen):
    """Reads files, which TFX watches for changes."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


class EmbeddedExampleGen(QueryBasedExampleGen):
    """Reads a data set that is part of a package, or the rows of a query."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def example_gen(
    settings: DataSettings,
    code_digest: str,
    parameters: Parameters = MappingProxyType({}),
    *,
    task: Task | None = None,
) -> BaseBeamComponent:
    """The ExampleGen for a source.

    Its output `examples` has the splits train and eval, and unlabeled where there are such.

    Args:
      settings: The source.
      code_digest: Of this project's code, for the cache.
      parameters: What is left open until a run begins.
      task: As configured.
    """
    # Only the names matter: the executor splits by its own seeded hash, and adds the split of
    # unlabeled examples when it has seen some.
    splits = [
        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=1) for name in (TRAIN, EVAL)
    ]
    output_config = example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits))
    path = parameters.get("data_path", settings.path)
    # Files that are named when a run begins can be looked at by the run alone.
    known_path = path == settings.path
    custom_config = pack_settings(settings, task, code_digest, known_path=known_path)
    files = SOURCES[settings.source].files(settings)
    if files:
        component = FilesExampleGen(
            input_base=files.base if known_path else path,
            input_config=_input_config(files.parts),
            output_config=output_config,
            custom_config=custom_config,
        )
    else:
        parts = [Part("all", settings.query or settings.path or settings.source)]
        component = EmbeddedExampleGen(
            input_config=_input_config(parts),
            output_config=output_config,
            custom_config=custom_config,
        )
    return component.with_id("ExampleGen")


def _input_config(parts: Sequence[Part]) -> example_gen_pb2.Input:
    splits = [example_gen_pb2.Input.Split(name=part.name, pattern=part.pattern) for part in parts]
    return example_gen_pb2.Input(splits=splits)
