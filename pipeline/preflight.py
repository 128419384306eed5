"""Finds out before the expensive work begins what would otherwise fail after minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from modules import files
from modules.data.augmentation import check_augmentation
from modules.data.sources.image_listing import Listing
from modules.data.sources.registry import find_source
from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.distill.distiller import Distiller
from modules.distill.methods import check_methods
from modules.errors import ConfigError
from modules.judge.limits import check_task
from modules.models import zoo
from modules.push.publish import open_destination
from modules.search.space import choices
from modules.settings import DataSettings, DistillSettings, ImageFeature, Task, TeacherSettings
from modules.teachers import soft_targets
from modules.teachers.keras_file import load_teacher
from modules.teachers.labels import label_map
from pipeline.config import PipelineConfig


def check_places(config: PipelineConfig) -> None:
    """Find the file systems and the data; of images, build the models as well.

    What other data are, only reading them tells: `check_spec` follows when they are read.

    Raises:
      UserError: What is wrong with the data or the models.
    """
    if config.push.destination:
        open_destination(config.push.destination)
    features = find_source(config.data).look(config.data)
    if features is not None and not config.data.rename:
        _check_slices(config, ("class_name", "label", *features))
    classes = _class_names(config.data)
    if classes:
        _check_models(config, *_image_spec(config.data, classes))


def check_spec(config: PipelineConfig, spec: DataSpec) -> None:
    """Hold the configuration to the data: build the models, find the layers.

    Args:
      config: The experiment.
      spec: What Transform wrote of the data.

    Raises:
      UserError: What does not fit.
    """
    check_augmentation(config.augment, spec)
    check_methods(config.distill, task=spec.output.task)
    check_task(config.gate, spec.output.task)
    _check_models(config, spec.by_name, spec.output)


def _check_models(
    config: PipelineConfig, inputs: Mapping[str, InputSpec], output: OutputSpec
) -> None:
    teacher, *_ = (
        _teacher(settings, f"more_teachers.{at - 1}" if at else "teacher", inputs, output)
        for at, settings in enumerate((config.teacher, *config.more_teachers))
    )
    student = zoo.build_model(config.student, inputs, output)
    soft_targets.check_top_k(config.distill.top_k, output)
    variants = choices(config.tune, config.student) if config.tune else []
    for model in (student, *(zoo.build_model(each, inputs, output) for each in variants)):
        if config.distill.soft_targets == "online" and teacher is not None:
            # Finds the layers of feature methods; a later generation learns from a student.
            _check_layers(config.distill, teacher, model, output.task)
            if config.distill.generations > 1:
                _check_layers(config.distill, model, model, output.task)


def _teacher(
    settings: TeacherSettings, key: str, inputs: Mapping[str, InputSpec], output: OutputSpec
) -> keras.Model | None:
    """The teacher's model; None of one that is none, or whose file is gone, as it may be."""
    if settings.kind == "model":
        return zoo.build_model(settings, inputs, output)
    label_map(settings.labels, output, key)
    if settings.kind == "keras_file" and files.exists(settings.name):
        return load_teacher(settings, inputs, output, key)
    return None


def _class_names(data: DataSettings) -> list[str]:
    """Of images, which folders show; of other data, a run finds them out."""
    if data.source == "digits":
        return [str(digit) for digit in range(10)]
    return Listing.of(str(data.path)).class_names if data.source == "image_folder" else []


def _image_spec(
    data: DataSettings, classes: Sequence[str]
) -> tuple[dict[str, InputSpec], OutputSpec]:
    inputs = {
        name: InputSpec(name=name, kind="image", feature=name, shape=each.shape, dtype="uint8")
        for name, each in data.features.items()
        if isinstance(each, ImageFeature)
    }
    task: Task = "binary" if len(classes) == 2 else "classification"
    return inputs, OutputSpec(task=task, size=len(classes), classes=tuple(classes))


def _check_layers(
    settings: DistillSettings, teacher: keras.Model, student: keras.Model, task: Task
) -> None:
    try:
        Distiller(teacher, student, settings.methods, task=task)
    except ConfigError as error:
        raise ConfigError(f"distill.{error}") from error


def _check_slices(config: PipelineConfig, known: tuple[str, ...]) -> None:
    for features in config.evaluate.slices:
        for name in features:
            if name not in known:
                raise ConfigError(
                    f"evaluate.slices: {name!r} must be a feature of the examples, which are "
                    f"{', '.join(known)}"
                )
