"""PipelineConfig: one YAML file, validated before TensorFlow or TFX is loaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from modules.data.sources.registry import check_source
from modules.distill.methods import check_methods
from modules.errors import ConfigError
from modules.judge.limits import check_limits
from modules.models.zoo import check_model
from modules.push.registry import check_push
from modules.search.space import check_tune
from modules.settings import (
    MOST_TEACHERS,
    AugmentSettings,
    DataSettings,
    DistillSettings,
    EvaluateSettings,
    ExportSettings,
    GateSettings,
    LatencySettings,
    ModelSettings,
    PushSettings,
    RuntimeSettings,
    Settings,
    TeacherSettings,
    TuneSettings,
)

PRESETS_DIR = Path(__file__).parent / "presets"


class PipelineConfig(Settings):
    """A whole experiment."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$", description="pipeline name")
    seed: int = Field(0, ge=0, lt=2**32, description="of weights and order")
    data: DataSettings
    augment: AugmentSettings = AugmentSettings()
    teacher: TeacherSettings
    more_teachers: tuple[TeacherSettings, ...] = Field(
        (),
        max_length=MOST_TEACHERS - 1,
        description="teach beside the teacher, which alone is the judgement's baseline",
    )
    student: ModelSettings
    distill: DistillSettings = DistillSettings()
    tune: TuneSettings | None = Field(None, description="null: no search")
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    latency: LatencySettings = LatencySettings()
    gate: GateSettings
    push: PushSettings = PushSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @field_validator("gate")
    @classmethod
    def _gate_limits_something(cls, gate: GateSettings) -> GateSettings:
        if not any(gate.model_dump(exclude_none=True).values()):
            raise ValueError(
                "gate must set at least one limit, or no student could be judged; "
                f"set one of {', '.join(GateSettings.model_fields)}"
            )
        return gate

    @model_validator(mode="after")
    def _views_can_be_made_again(self) -> PipelineConfig:
        if self.augment.mixup and self.distill.knowledge == "cached":
            raise ValueError(
                "distill.knowledge must be online with augment.mixup, whose images depend on "
                "their neighbours in the batch; set distill.knowledge: online"
            )
        if self.augment.mixup and any(
            method.name == "decoupled" for method in self.distill.methods
        ):
            raise ValueError(
                "augment.mixup blends labels, and the method decoupled needs one label for each "
                "example; remove one of the two"
            )
        if self.distill.views > 1 and not self.augment.active:
            raise ValueError(
                f"distill.views is {self.distill.views}, but without augment all views of an "
                "example are the same; set augment or leave distill.views at 1"
            )
        return self

    @model_validator(mode="after")
    def _pushed_variant_is_exported(self) -> PipelineConfig:
        # Timing needs the student in the teacher's format.
        if "float32" not in self.export.tflite:
            raise ValueError(
                "export.tflite must include float32, on which teacher and student are timed, "
                f"got {list(self.export.tflite)}; add float32"
            )
        if isinstance(self.push.tflite, str):
            return self
        missing = [name for name in self.push.tflite if name not in self.export.tflite]
        if missing:
            raise ValueError(
                f"push.tflite must be among export.tflite {list(self.export.tflite)}, "
                f"got {list(self.push.tflite)}; add {', '.join(missing)} to export.tflite"
            )
        return self


def load_config(preset_or_file: str, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read, override and validate a configuration.

    Args:
      preset_or_file: The name of a preset, or the path of a YAML file.
      overrides: `KEY=VALUE` strings; the key is dotted, the value YAML.

    Raises:
      ConfigError: One line for each thing that is wrong.
    """
    path = find_config(preset_or_file)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not readable as YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a YAML mapping such as `name: digits`")
    for override in overrides:
        _override(content, override)
    try:
        config = PipelineConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, path))) from error
    check_source(config.data)
    check_model(config.teacher, "teacher")
    for index, teacher in enumerate(config.more_teachers):
        check_model(teacher, f"more_teachers.{index}")
    check_model(config.student, "student")
    check_methods(config.distill)
    check_limits(config.gate, config.export.tflite, config.evaluate, control=config.distill.control)
    check_push(config.push)
    if config.tune is not None:
        check_tune(config.tune, config.student, config.distill)
    return config


def find_config(preset_or_file: str) -> Path:
    """The file of a preset's name or of a path.

    Raises:
      ConfigError: There is neither.
    """
    presets = sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))
    if preset_or_file in presets:
        return PRESETS_DIR / f"{preset_or_file}.yaml"
    path = Path(preset_or_file)
    if path.is_file():
        return path
    raise ConfigError(
        f"{preset_or_file!r} is neither a preset ({', '.join(presets)}) nor a file"
        f"{_nearest(preset_or_file, presets)}"
    )


def check_local_paths(config: PipelineConfig) -> None:
    """What a run on this machine needs to find; a run elsewhere has other file systems.

    Raises:
      ConfigError: `data.path` is no directory here.
    """
    path = config.data.path
    if path and "://" not in path and not os.path.isdir(path):
        raise ConfigError(
            f"data.path must be an existing directory, but {path!r} is none; set it to a "
            "directory with one sub-folder of PNG or JPEG files per class"
        )


def _override(content: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(
            f"--set needs KEY=VALUE with a dotted key, got {override!r}; "
            "for example --set distill.temperature=4"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value {text!r} is not YAML; quote it") from error
    target = content
    for part in parts[:-1]:
        child = target.setdefault(part, {})
        if child is None:
            child = target[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {part!r} is a value, not a section with keys")
        target = child
    target[parts[-1]] = value


def _describe(error: ValidationError, path: Path) -> list[str]:
    """One line per problem: the key, the rule, the value, the remedy."""
    lines = []
    for problem in error.errors():
        location = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            hint = _nearest(str(problem["loc"][-1]), known)
            lines.append(f"{path}: {location}: no such key{hint}; keys here: {', '.join(known)}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: {location}: must be set")
        elif problem["type"] == "value_error":
            # Our own validators' sentences already name the key and the value.
            lines.append(f"{path}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            rule = problem["msg"][0].lower() + problem["msg"][1:]
            lines.append(f"{path}: {location}: {rule}, got {problem['input']!r}")
    return lines


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at a location; in a list the location names the position."""
    annotation: Any = PipelineConfig
    for part in location:
        if isinstance(part, int):
            annotation = get_args(annotation)[0]
            continue
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        annotation = annotation.model_fields[part].annotation
        if type(None) in get_args(annotation):
            annotation = get_args(annotation)[0]
    return list(annotation.model_fields)


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
