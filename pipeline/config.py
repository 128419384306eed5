"""PipelineConfig: one YAML file, validated before TensorFlow or TFX is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from modules.data.sources.recorded_examples import latest_examples
from modules.data.sources.registry import find_source
from modules.errors import ConfigError, did_you_mean, shortened
from modules.search.candidates import make_plan
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
    SearchPlan,
    SearchSettings,
    Settings,
    Task,
    TeacherSettings,
    TFLiteVariant,
    of_pattern,
)
from pipeline.configuration.checks import problems_between
from pipeline.configuration.errors import describe
from pipeline.configuration.file import Layer, read_layers

PRESETS_DIR = Path(__file__).parent / "presets"


_Name = Annotated[
    str,
    of_pattern(
        r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$",
        "must have only a-z, 0-9, - and _, and a letter or digit at either end",
    ),
]


class PipelineConfig(Settings):
    """A whole experiment."""

    name: _Name = Field(
        max_length=100,
        description="name of the pipeline: a-z, 0-9, `-` and `_`",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="seed of initial weights and of the order of examples"
    )
    task: Task | None = Field(None, description="what is predicted; null: what the label suggests")
    data: DataSettings
    augment: AugmentSettings = AugmentSettings()
    teacher: TeacherSettings
    more_teachers: tuple[TeacherSettings, ...] = Field(
        (),
        max_length=MOST_TEACHERS - 1,
        description="further teachers; the judgment compares with `teacher` alone",
    )
    student: ModelSettings
    distill: DistillSettings = DistillSettings()
    search: SearchSettings | None = Field(
        None, description="search for the student; null: none, unless `distill` has an `auto`"
    )
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    latency: LatencySettings = LatencySettings()
    gate: GateSettings
    push: PushSettings = PushSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @property
    def teachers(self) -> tuple[TeacherSettings, ...]:
        """The baseline of the judgment, and the others."""
        return (self.teacher, *self.more_teachers)

    @property
    def search_plan(self) -> SearchPlan | None:
        """What is searched, if anything is."""
        if self.search is None and not self.distill.auto:
            return None
        return make_plan(
            self.search,
            self.student,
            self.gate,
            self.export,
            () if isinstance(self.push.tflite, str) else self.push.tflite,
            self.latency,
        )

    @property
    def models(self) -> dict[str, ModelSettings]:
        """Teachers, assistants and students, in this order, by their place in the configuration."""
        more = {f"more_teachers.{at}": each for at, each in enumerate(self.more_teachers)}
        assistants = {
            f"distill.assistants.{at}": each for at, each in enumerate(self.distill.assistants)
        }
        plan = self.search_plan
        searched = {
            f"search.students.{at}": each
            for at, each in enumerate(plan.students if plan else ())
            if each != self.student
        }
        return {"teacher": self.teacher, **more, **assistants, "student": self.student, **searched}

    @property
    def needed_variants(self) -> tuple[TFLiteVariant, ...]:
        """The student's TFLite variants without which it cannot ship.

        float32, on which it is timed, those that `push.tflite` names, and those that a limit does.
        """
        named: set[str] = {"float32"}
        named.update(() if isinstance(self.push.tflite, str) else self.push.tflite)
        for limit in self.gate.limits:
            first, *more = limit.number.split(".")
            named.update(more[:1] if first == "variants" else ())
        return tuple(variant for variant in self.export.tflite if variant in named)

    @field_validator("gate")
    @classmethod
    def _gate_limits_something(cls, gate: GateSettings) -> GateSettings:
        if not gate.is_limited:
            raise ValueError(
                "must set at least one limit, or no student could be judged; "
                f"set one of {', '.join(GateSettings.limit_names())}"
            )
        return gate


def load_config(preset_or_file: str, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read, override and validate a configuration.

    Args:
      preset_or_file: The name of a preset, or the path of a YAML file.
      overrides: `KEY=VALUE` strings; the key is dotted, the value YAML.

    Raises:
      ConfigError: One line for each thing that is wrong, which begins with the file or with the
        `--set` that it comes from.
    """
    layers, problems = read_layers(find_config(preset_or_file), overrides)
    config, found = _validate(layers[-1].content) if layers else (None, [])
    problems += _with_origins(found, layers)
    if problems or config is None:
        raise ConfigError("\n".join(problems))
    if config.data.produced_by:
        # From here on the configuration names the very artifact.
        path = latest_examples(config.data.produced_by)
        data = config.data.model_copy(update={"path": path, "produced_by": None})
        config = config.model_copy(update={"data": data})
    return config


def _validate(content: Mapping[str, Any]) -> tuple[PipelineConfig | None, list[str]]:
    """The configuration, and one line for each thing that is wrong with it."""
    try:
        config = PipelineConfig.model_validate(content)
    except ValidationError as error:
        failed = {".".join(map(str, problem["loc"][:2])) for problem in error.errors()}
        sections = dict(_valid_sections(content, failed))
        return None, [*describe(error, PipelineConfig), *problems_between(sections, failed)]
    sections = {name: getattr(config, name) for name in PipelineConfig.model_fields}
    return config, list(problems_between(sections, set()))


def _valid_sections(content: Mapping[str, Any], failed: set[str]) -> Iterator[tuple[str, Any]]:
    """The sections without the keys that failed; one that cannot do without them fails, too."""
    for name, field in PipelineConfig.model_fields.items():
        annotation: Any = field.annotation
        section = content.get(name, field.get_default(call_default_factory=True, validated_data={}))
        if isinstance(section, dict):
            section = {key: section[key] for key in section if f"{name}.{key}" not in failed}
        try:
            if name not in failed:
                yield name, TypeAdapter(annotation).validate_python(section)
        except ValidationError:
            failed.add(name)


def _with_origins(found: Sequence[str], layers: Sequence[Layer]) -> Iterator[str]:
    """Each problem behind the layer since which it has been there without a break."""
    if not found:
        return
    earlier = [set(_validate(layer.content)[1]) for layer in layers[:-1]]
    for problem in found:
        since = len(earlier)
        while since and problem in earlier[since - 1]:
            since -= 1
        yield f"{layers[since].origin}: {problem}"


def find_config(preset_or_file: str) -> Path:
    """The file of a preset's name or of a path.

    Raises:
      ConfigError: There is neither.
    """
    presets = sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))
    if preset_or_file in presets:
        return PRESETS_DIR / f"{preset_or_file}.yaml"
    path = Path(preset_or_file)
    # A name may be too long for Linux, or hold a zero byte.
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            raise ConfigError(
                f"{preset_or_file}: must be a YAML file, but it is a directory; name a file in it"
            )
        if path.is_file():
            return path
    raise ConfigError(
        f"{shortened(preset_or_file)} is neither a preset ({', '.join(presets)}) nor a file"
        f"{did_you_mean(preset_or_file, presets)}"
    )


def check_local_paths(config: PipelineConfig) -> None:
    """What a run on this machine needs to find; a run elsewhere has other file systems.

    Raises:
      ConfigError: There is nothing at `data.path`.
      DataError: What is there cannot be used.
    """
    path = config.data.path
    if path and "://" not in path:
        find_source(config.data).look(config.data)
