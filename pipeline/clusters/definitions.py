"""What is sent to an engine: a configuration that is compiled, or a file that was."""

from __future__ import annotations

import os
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import yaml

from modules.errors import ConfigError
from pipeline.clusters.engines import Engine, cautions, check_engine
from pipeline.clusters.runner_files import CONFIG_VARIABLE, placeholders
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.terminal.printable import echo
from pipeline.terminal.quiet import native_messages

_SUFFIX = {"kubeflow": ".yaml", "vertex": ".json"}
_SCHEMA = {"kubeflow": ("2.1.0",), "vertex": ("2.0.0", "2.1.0")}


@dataclass(frozen=True)
class Definition:
    """A compiled pipeline.

    Attributes:
      name: The pipeline's.
      text: The file's: pipeline spec YAML, or PipelineJob JSON for Vertex.
      written: Where a runner file has left it.
    """

    name: str
    text: str
    written: Path | None = None

    def default_path(self, engine: Engine) -> Path:
        """Where a compiled file goes if nobody says where."""
        return Path(f"{self.name}{_SUFFIX[engine]}")

    def check_sendable(self) -> None:
        """What a runner file makes up so that it compiles as it stands is not sent.

        Raises:
          ConfigError: It is there.
        """
        for key, value in placeholders().items():
            if re.search(rf"(?<![\w./-]){re.escape(value)}(?![\w.-])", self.text):
                raise ConfigError(
                    f"runtime.{key} must be set before a pipeline is sent, got the placeholder "
                    f"{value}; set it in a file that --config or {CONFIG_VARIABLE} names"
                )


@dataclass(frozen=True)
class PipelinePath:
    """What `--pipeline_path` and the options beside it name.

    Attributes:
      path: A preset, a configuration, a runner file, or a compiled file.
      overrides: `KEY=VALUE` for a configuration.
      allow_mutable_image: Compile with an image whose tag may change.
      runner_config: The preset or configuration of a runner file of ours, if one was named.
    """

    path: str
    overrides: tuple[str, ...] = ()
    allow_mutable_image: bool = False
    runner_config: str | None = None

    def config(self) -> PipelineConfig | None:
        """The configuration, where the path names one.

        Raises:
          ConfigError: There is no such file, or the configuration is wrong.
        """
        file = find_config(self.path)
        if file.suffix in (".py", ".json") or _is_compiled(file):
            if self.overrides:
                raise ConfigError(
                    f"--set goes with a preset or a configuration, but --pipeline_path is {file}; "
                    "leave it out"
                )
            return None
        return load_config(self.path, self.overrides)

    def check(self, engine: Engine, *, image_follows: bool = False) -> None:
        """Finds out, before anything is sent, what the engine cannot run.

        Args:
          engine: Kubeflow or Vertex.
          image_follows: The tag of `runtime.image` is not known yet.

        Raises:
          ConfigError: Naming the key of the configuration.
        """
        config = self.config()
        if config:
            mutable = self.allow_mutable_image or image_follows
            check_engine(config, engine, allow_mutable_image=mutable)

    def definition(self, engine: Engine) -> Definition:
        """Compiles, runs the runner file, or reads the compiled file.

        Raises:
          ConfigError: The engine cannot be given that.
        """
        config = self.config()
        if config:
            return Definition(config.name, self._compiled(config, engine))
        file = Path(self.path)
        written = run_runner_file(file, self.runner_config) if file.suffix == ".py" else None
        text = _read(written or file)
        return Definition(check_compiled(text, written or file, engine), text, written)

    def _compiled(self, config: PipelineConfig, engine: Engine) -> str:
        for caution in cautions(config, engine):
            echo(f"warning: {caution}", err=True)
        with native_messages():
            from pipeline.clusters.compilation import compile_pipeline

            return compile_pipeline(config, engine, allow_mutable_image=self.allow_mutable_image)


def run_runner_file(file: Path, config: str | None = None) -> Path:
    """Executes a runner file as `tfx` does; returns the file that its runner has written.

    Args:
      file: Python.
      config: What TFX_DISTILL_CONFIG is set to meanwhile, if anything.

    Raises:
      ConfigError: It calls no `KubeflowV2DagRunner.run`, or ends with another exit code than 0.
    """
    import runpy

    with native_messages():
        from tfx.tools.cli.handler.kubeflow_v2_dag_runner_patcher import KubeflowV2DagRunnerPatcher

    patcher = KubeflowV2DagRunnerPatcher(call_real_run=True)
    arguments, environment = sys.argv, os.environ.get(CONFIG_VARIABLE)
    sys.argv = [str(file)]
    sys.path.insert(0, str(file.resolve().parent))
    _set_environment(config or environment)
    try:
        # What it prints is its own; the answer of the command that runs it goes to stdout.
        with patcher.patch() as context, redirect_stdout(sys.stderr):
            runpy.run_path(str(file), run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise ConfigError(
                f"--pipeline_path: {file} must end without an error, and ends with exit code "
                f"{end.code}; what it has written is above"
            ) from end
    finally:
        sys.argv = arguments
        sys.path.pop(0)
        _set_environment(environment)
    if not patcher.run_called:
        raise ConfigError(
            f"--pipeline_path: {file} must call KubeflowV2DagRunner.run once, and does not; take "
            "pipeline/kubeflow_runner.py or pipeline/vertex_runner.py as a pattern"
        )
    return Path(context[patcher.OUTPUT_FILE_PATH])


def _set_environment(config: str | None) -> None:
    if config is None:
        os.environ.pop(CONFIG_VARIABLE, None)
    else:
        os.environ[CONFIG_VARIABLE] = config


def check_compiled(text: str, file: Path, engine: Engine) -> str:
    """The name of a compiled pipeline.

    Raises:
      ConfigError: It is not what the engine reads.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    wanted = "a PipelineJob" if engine == "vertex" else "a pipeline spec 2.1"
    remedy = f"make it with `tfx-distill compile --engine {engine}`"
    try:
        documents = list(yaml.safe_load_all(text))
        spec = documents[0].get("pipelineSpec", documents[0])
        message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except (yaml.YAMLError, json_format.ParseError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: must be {wanted}, but: {reason}; {remedy}") from error
    if (spec is documents[0]) != (engine == "kubeflow"):
        raise ConfigError(f"{file}: must be {wanted}, and is for the other engine; {remedy}")
    if message.schema_version not in _SCHEMA[engine] or not message.pipeline_info.name:
        raise ConfigError(
            f"{file}: must be {wanted} with a name, got schemaVersion {message.schema_version!r} "
            f"and name {message.pipeline_info.name!r}; {remedy}"
        )
    return str(message.pipeline_info.name)


def _is_compiled(file: Path) -> bool:
    """A compiled file is long, so that it is not parsed to find out."""
    return bool(re.search(r"^(pipelineInfo|pipelineSpec):", _read(file), re.MULTILINE))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--pipeline_path: {file} must be a text file ({error})") from error
