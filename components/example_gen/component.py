"""Wires the executor into TFX's own ExampleGen components.

The stock components bring the drivers: the file-based one fingerprints the image files, so that
a changed folder is read again and an unchanged one is served from the cache.
"""

from __future__ import annotations

from types import MappingProxyType

from tfx.components.example_gen.component import FileBasedExampleGen, QueryBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.proto import example_gen_pb2

from components.example_gen.executor import Executor, pack_settings
from components.run_parameters import Parameters
from modules.data.sources.registry import SOURCES
from modules.settings import DataSettings


class FilesExampleGen(FileBasedExampleGen):
    """Reads files, which TFX watches for changes."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


class EmbeddedExampleGen(QueryBasedExampleGen):
    """Reads a data set that ships with a package and needs no files."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def example_gen(
    settings: DataSettings, code_digest: str, parameters: Parameters = MappingProxyType({})
) -> BaseBeamComponent:
    """The ExampleGen for a source; its output `examples` has the splits train and eval.

    Args:
      settings: The source.
      code_digest: Of this project's code, for the cache.
      parameters: What is left open until a run begins.
    """
    splits = [
        # Only the names matter: the executor splits by its own seeded hash, see
        # `modules.data.splits.in_eval_split`.
        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=1)
        for name in ("train", "eval")
    ]
    output_config = example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=splits))
    path = parameters.get("data_path", settings.path)
    # Files that are named when a run begins can be looked at by the run alone.
    custom_config = pack_settings(settings, code_digest, known_path=path == settings.path)
    pattern = SOURCES[settings.source].pattern
    if pattern:
        component = FilesExampleGen(
            input_base=path,
            input_config=_single_split(pattern),
            output_config=output_config,
            custom_config=custom_config,
        )
    else:
        component = EmbeddedExampleGen(
            input_config=_single_split(settings.source),
            output_config=output_config,
            custom_config=custom_config,
        )
    return component.with_id("ExampleGen")


def _single_split(pattern: str) -> example_gen_pb2.Input:
    return example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern=pattern)])
