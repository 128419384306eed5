"""What a configuration must fulfill besides the rules of each section."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modules.data.sources.registry import check_source
from modules.distill.methods import check_methods
from modules.errors import ConfigError, raise_problems
from modules.judge.limits import check_limits
from modules.models.zoo import AT_ONCE, check_model, check_taught
from modules.push.registry import check_push
from modules.search.candidates import check_search
from modules.settings import (
    AugmentSettings,
    DataSettings,
    DistillSettings,
    EvaluateSettings,
    ExportSettings,
    GateSettings,
    ImageFeature,
    PushSettings,
    Task,
    TeacherSettings,
)


def problems_between(sections: Mapping[str, Any], failed: set[str]) -> Iterator[str]:
    """One line for each thing that is wrong.

    Args:
      sections: Of a configuration, by name.
      failed: Sections and keys (`distill.alpha`) that are wrong already. A check that needs one
        is left out, since it could only guess. Grows by what is found wrong.
    """
    for check, needs in _CHECKS:
        if any(_is_wrong(need, failed) for need in needs):
            continue
        names = dict.fromkeys(need.partition(".")[0] for need in needs)
        try:
            check(*(sections[name] for name in names))
        except ConfigError as error:
            failed.add(needs[0])
            yield from str(error).splitlines()


def _is_wrong(need: str, failed: set[str]) -> bool:
    return need.partition(".")[0] in failed or any(
        each == need or each.startswith(f"{need}.") for each in failed
    )


def _check_images(data: DataSettings) -> None:
    """Nothing says how large the images of a folder are to be."""
    if data.source != "image_folder" or data.preprocessing_fn:
        return
    given = data.features.get("image")
    if not isinstance(given, ImageFeature):
        raise ConfigError(
            "data.features.image must be of the kind image when data.source is image_folder, got "
            f"{given.kind if given else 'nothing'}; set it to {{kind: image, size: 96}}, with the "
            "size that the models are to see"
        )


def _check_class_weights(data: DataSettings, task: Task | None) -> None:
    if data.class_weights is not None and task in ("multilabel", "regression"):
        raise ConfigError(
            f"data.class_weights must not be set with task: {task}, which has no classes to "
            "weight; remove it"
        )


def _check_mixup(augment: AugmentSettings, distill: DistillSettings) -> None:
    problems = []
    if augment.mixup and distill.soft_targets == "cached":
        problems.append(
            "distill.soft_targets must be online with augment.mixup, whose images depend on "
            "their neighbors in the batch; set distill.soft_targets: online"
        )
    if augment.mixup and any(method.name == "decoupled" for method in distill.methods):
        problems.append(
            "augment.mixup must be 0 with the method decoupled, which needs one label per example, "
            f"got {augment.mixup:g}; remove one of the two"
        )
    raise_problems(problems)


def _check_views(augment: AugmentSettings, distill: DistillSettings) -> None:
    if distill.views > 1 and not augment.active:
        raise ConfigError(
            "distill.views must be 1 without augment, since all views of an example are then the "
            f"same, got {distill.views}; set augment or remove distill.views"
        )


def _check_pushed_variants(push: PushSettings, export: ExportSettings) -> None:
    chosen = () if isinstance(push.tflite, str) else push.tflite
    missing = [name for name in chosen if name not in export.tflite]
    if missing:
        raise ConfigError(
            f"push.tflite must be among export.tflite {list(export.tflite)}, "
            f"got {list(chosen)}; add {', '.join(missing)} to export.tflite"
        )


def _check_gate(
    gate: GateSettings,
    export: ExportSettings,
    evaluate: EvaluateSettings,
    distill: DistillSettings,
    task: Task | None,
) -> None:
    check_limits(gate, export.tflite, evaluate, control=distill.control, task=task)


def _check_teacher(teacher: TeacherSettings, key: str = "teacher") -> None:
    if teacher.kind == "model":
        check_model(teacher, key)
        if teacher.model in AT_ONCE and "train" in teacher.model_fields_set:
            raise ConfigError(
                f"{key}.train must not be set with {teacher.model}, which takes no steps; remove "
                f"{key}.train"
            )


def _check_more_teachers(teachers: Sequence[TeacherSettings]) -> None:
    for index, teacher in enumerate(teachers):
        _check_teacher(teacher, f"more_teachers.{index}")


def _check_assistants(distill: DistillSettings) -> None:
    problems = []
    for index, assistant in enumerate(distill.assistants):
        try:
            check_taught(assistant, f"distill.assistants.{index}")
        except ConfigError as error:
            problems.append(str(error))
    raise_problems(problems)


def _check_answers(
    distill: DistillSettings,
    teacher: TeacherSettings,
    more: Sequence[TeacherSettings],
    augment: AugmentSettings,
) -> None:
    """What was answered once knows neither other views nor the inside of a model."""
    asked = [each for each in (teacher, *more) if not each.is_model]
    if not asked:
        return
    because = f"with a teacher from {asked[0].kind}, which answers each example once, as it is"
    problems = []
    if distill.soft_targets == "online":
        problems.append(
            f"distill.soft_targets must be cached {because}; set distill.soft_targets: cached, "
            "without feature methods"
        )
    if distill.views > 1:
        problems.append(f"distill.views must be 1 {because}; remove distill.views")
    if augment.active:
        problems.append(f"augment must not be set {because}; remove augment")
    raise_problems(problems)


# A check and what it needs, the first of which it checks. It is given the sections.
_CHECKS: tuple[tuple[Callable[..., None], tuple[str, ...]], ...] = (
    (check_source, ("data.source", "data.path")),
    (_check_images, ("data.features", "data.source", "data.preprocessing_fn")),
    (_check_class_weights, ("data.class_weights", "task")),
    (_check_mixup, ("augment.mixup", "distill.soft_targets", "distill.methods")),
    (_check_views, ("augment", "distill.views")),
    (_check_pushed_variants, ("push.tflite", "export.tflite")),
    (check_push, ("push.destination", "push.vertex")),
    (
        _check_gate,
        (
            "gate.limits",
            "export.tflite",
            "evaluate.top_k",
            "evaluate.slices",
            "distill.control",
            "task",
        ),
    ),
    (_check_teacher, ("teacher.model", "teacher.parameters", "teacher.train")),
    (_check_more_teachers, ("more_teachers",)),
    (lambda model: check_taught(model, "student"), ("student.model", "student.parameters")),
    (
        lambda distill, task: check_methods(distill, task=task),
        ("distill.methods", "distill.soft_targets", "task"),
    ),
    (_check_assistants, ("distill.assistants",)),
    (
        _check_answers,
        (
            "distill.soft_targets",
            "distill.views",
            "teacher.model",
            "more_teachers",
            "augment",
        ),
    ),
    (check_search, ("search", "student.model", "student.train", "student.parameters", "distill")),
)
