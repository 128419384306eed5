"""What is sent to an engine: a configuration that is compiled, or a file that was."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modules.errors import ConfigError
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.quiet import native_messages

if TYPE_CHECKING:
    from pipeline.compilation import Engine

_SUFFIX = {"kubeflow": ".yaml", "vertex": ".json"}
_SCHEMA = {"kubeflow": ("2.1.0",), "vertex": ("2.0.0", "2.1.0")}


@dataclass(frozen=True)
class Definition:
    """A compiled pipeline.

    Attributes:
      name: The pipeline's.
      text: The file's: pipeline spec YAML, or PipelineJob JSON for Vertex.
      config: What it was compiled from, if that is known.
      written: Where a runner file has left it.
    """

    name: str
    text: str
    config: PipelineConfig | None = None
    written: Path | None = None

    def default_path(self, engine: Engine) -> Path:
        """Where a compiled file goes if nobody says where."""
        return Path(f"{self.name}{_SUFFIX[engine]}")


@dataclass(frozen=True)
class Source:
    """What `--pipeline_path` and the options beside it name.

    Attributes:
      path: A preset, a configuration, a runner file, or a compiled file.
      overrides: `KEY=VALUE` for a configuration.
      allow_mutable_image: Compile with an image whose tag may change.
      debug: Show what the compiler's libraries write.
    """

    path: str
    overrides: tuple[str, ...] = ()
    allow_mutable_image: bool = False
    debug: bool = False

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

    def definition(self, engine: Engine) -> Definition:
        """Compiles, runs the runner file, or reads the compiled file.

        Raises:
          ConfigError: The engine cannot be given that.
        """
        config = self.config()
        if config is not None:
            return self._compiled(config, engine)
        file = Path(self.path)
        if file.suffix == ".py":
            with native_messages(self.debug):
                written = run_runner_file(file)
            text = _read(written)
            return Definition(check_compiled(text, written, engine), text, written=written)
        text = _read(file)
        return Definition(check_compiled(text, file, engine), text)

    def _compiled(self, config: PipelineConfig, engine: Engine) -> Definition:
        with native_messages(self.debug):
            from pipeline.compilation import compile_pipeline
        text = compile_pipeline(config, engine, allow_mutable_image=self.allow_mutable_image)
        return Definition(config.name, text, config)


def run_runner_file(file: Path) -> Path:
    """Executes a runner file as `tfx` does; returns the file that its runner has written.

    Raises:
      ConfigError: It calls no `KubeflowV2DagRunner.run`, or ends with an error of its own.
    """
    import runpy

    from tfx.tools.cli.handler.kubeflow_v2_dag_runner_patcher import KubeflowV2DagRunnerPatcher

    patcher = KubeflowV2DagRunnerPatcher(call_real_run=True)
    arguments = sys.argv
    sys.argv = [str(file)]
    sys.path.insert(0, str(file.resolve().parent))
    try:
        with patcher.patch() as context:
            runpy.run_path(str(file), run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise ConfigError(
                f"--pipeline_path: {file} ends with exit code {end.code}; run it by itself"
            ) from end
    finally:
        sys.argv = arguments
        sys.path.pop(0)
    if not patcher.run_called:
        raise ConfigError(
            f"--pipeline_path: {file} must call KubeflowV2DagRunner.run once, and does not; take "
            "pipeline/kubeflow_runner.py or pipeline/vertex_runner.py as a pattern"
        )
    return Path(context[patcher.OUTPUT_FILE_PATH])


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


def typed_parameters(spec: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Runtime parameters in the types of a pipeline spec's root inputs.

    Args:
      spec: The pipeline spec.
      assignments: `NAME=VALUE` each; of two with one name the last counts.

    Raises:
      ConfigError: There is no such parameter, or the value is of another type.
    """
    known = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    values = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name:
            raise ConfigError(
                f"--runtime_parameter needs NAME=VALUE, got {assignment!r}; for example "
                "--runtime_parameter temperature=4"
            )
        if name not in known:
            raise ConfigError(
                f"--runtime_parameter: {name!r} must be one of the pipeline's parameters, which "
                f"are {', '.join(sorted(known)) or 'none'}"
            )
        kind = known[name].get("parameterType") or known[name].get("type", "STRING")
        values[name] = _typed(name, text, kind)
    return values


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        return _PARSERS[kind](text)
    except ValueError as error:
        raise ConfigError(
            f"--runtime_parameter {name}: must be {_WORDS[kind]}, got {text!r}"
        ) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _structure(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return parse


_PARSERS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "INT": int,
    "NUMBER_INTEGER": int,
    "DOUBLE": _finite,
    "NUMBER_DOUBLE": _finite,
    "BOOLEAN": _structure(bool),
    "LIST": _structure(list),
    "STRUCT": _structure(dict),
}
_WORDS = {
    "INT": "a whole number",
    "NUMBER_INTEGER": "a whole number",
    "DOUBLE": "a number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}


def _is_compiled(file: Path) -> bool:
    """A compiled file is long, so that it is not parsed to find out."""
    return bool(re.search(r"^(pipelineInfo|pipelineSpec):", _read(file), re.MULTILINE))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--pipeline_path: {file} must be a text file ({error})") from error
