"""Finds out before the expensive work begins what would otherwise fail after minutes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import multiprocessing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import keras

from modules import files
from modules.data.augmentation import check_augmentation
from modules.data.sources.image_listing import Listing
from modules.data.sources.registry import find_source
from modules.data.spec import CLASS_NAME, OURS, DataSpec, InputSpec, OutputSpec
from modules.distill.distiller import Distiller
from modules.distill.methods import check_methods
from modules.errors import ConfigError, ModelError, UserError, did_you_mean
from modules.judge.limits import check_task
from modules.measure import loadgen
from modules.measure.conversion import TrialConversions, Wanted
from modules.models import zoo
from modules.models.probe import check_answers
from modules.push.publish import check_destination
from modules.settings import (
    DataSettings,
    DistillSettings,
    GateSettings,
    ImageFeature,
    ModelSettings,
    Task,
    TeacherSettings,
)
from modules.teachers import soft_targets
from modules.teachers.keras_file import load_teacher
from modules.teachers.labels import label_map
from pipeline.config import PipelineConfig

_LOG = logging.getLogger("tfx_distill.run")
_ASSISTANTS = "distill.assistants."


def check_places(config: PipelineConfig) -> None:
    """Find the file systems and the data; of images, build the models as well.

    What other data are, only reading them tells: `check_spec` follows when they are read.

    Raises:
      UserError: What is wrong with the data or the models.
    """
    check_destination(config.push.destination)
    if config.latency.engine == "loadgen":
        loadgen.require()
    features = find_source(config.data).look(config.data)
    if features is not None and not config.data.rename:
        _check_slices(config, ("class_name", "label", *features))
    classes = _class_names(config.data)
    if classes:
        inputs, output = _image_spec(config.data, classes)
        check_task(config.gate, output.task)
        _check_models(config, inputs, output)


def check_semaphores() -> None:
    """Find out whether Apache Beam can have its locks, for which Linux has a directory.

    Raises:
      UserError: It cannot.
    """
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise UserError(
            f"/dev/shm must be a directory that can be written to, where Apache Beam has its "
            f"locks, but it is not ({error.strerror}); mount it (Docker: --shm-size=64m)"
        ) from error


def check_spec(
    config: PipelineConfig,
    spec: DataSpec,
    features: Collection[str] = (),
    memory: Path | None = None,
) -> None:
    """Hold the configuration to the data: ask and convert the models, find the layers.

    Args:
      config: The experiment.
      spec: What Transform wrote of the data.
      features: Names of the raw features, as far as they are known.
      memory: A file that keeps which conversions were possible, for the next run.

    Raises:
      UserError: What does not fit.
    """
    check_augmentation(config.augment, spec)
    check_methods(config.distill, task=spec.output.task)
    check_task(config.gate, spec.output.task)
    if features:
        _check_slices(config, (*OURS, *features))
    _check_slice_values(config.gate, spec.output)
    check_destination(config.push.destination)
    wanted: Wanted = {"student": (config.student, config.export.tflite)}
    if config.teacher.kind == "model":
        wanted = {**wanted, "teacher": (config.teacher, ("float32",))}
    conversion = TrialConversions(wanted, spec, memory, int8_input=config.export.int8_input)
    with conversion as conversions:
        _check_models(config, spec.by_name, spec.output)
        for place, settings in config.models.items():
            with _placed(place):
                if build := _building(place, settings, spec.by_name, spec.output):
                    check_answers(build, spec.by_name, spec.output)
        _check_conversions(config, conversions.problems())


@contextlib.contextmanager
def _placed(place: str) -> Iterator[None]:
    """Puts a model's place in the configuration before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{place}: {error}") from error


def _check_conversions(config: PipelineConfig, problems: Mapping[tuple[str, str], str]) -> None:
    """Refuse what cannot ship; what need not is left out, and said so.

    Raises:
      ModelError: A file that has to ship cannot be made.
    """
    for (place, variant), reason in problems.items():
        if place == "teacher":
            _LOG.warning("teacher: %s; so it is not timed, and no speed-up is known", reason)
        elif variant in config.needed_variants:
            raise ModelError(f"{place}: {reason}")
        else:
            _LOG.warning("%s: %s; %s is left out", place, reason, variant)


def _check_models(
    config: PipelineConfig, inputs: Mapping[str, InputSpec], output: OutputSpec
) -> None:
    built = {}
    for place, settings in config.models.items():
        with _placed(place):
            build = _building(place, settings, inputs, output)
            built[place] = build and build()
    soft_targets.check_top_k(config.distill.top_k, output)
    teacher, student = built["teacher"], built["student"]
    assert student is not None
    assistants = {
        place: model
        for place, model in built.items()
        if place.startswith(_ASSISTANTS) and model is not None
    }
    _check_sizes(teacher, assistants, student)
    searched = [
        model
        for place, model in built.items()
        if place.startswith("search.students") and model is not None
    ]
    students = [student, *searched]
    if config.distill.soft_targets == "online":
        _check_chain(config.distill, teacher, assistants, students, output.task)


def _check_chain(
    distill: DistillSettings,
    teacher: keras.Model | None,
    assistants: Mapping[str, keras.Model],
    students: Sequence[keras.Model],
    task: Task,
) -> None:
    """Find the layers of feature methods between each model and the one that it teaches."""
    for place, assistant in assistants.items():
        with _placed(place):
            _check_layers(distill, teacher, assistant, task)
        teacher = assistant
    for model in students:
        _check_layers(distill, teacher, model, task)
        if distill.generations > 1:
            # A later generation learns from a student.
            _check_layers(distill, model, model, task)


def _check_sizes(
    teacher: keras.Model | None, assistants: Mapping[str, keras.Model], student: keras.Model
) -> None:
    """Warn of an assistant that is not between its teacher and the next model in size."""
    sizes = {place: each.count_params() for place, each in assistants.items()}
    before = math.inf if teacher is None else teacher.count_params()
    for place, (size, after) in zip(
        sizes, itertools.pairwise([*sizes.values(), student.count_params()]), strict=True
    ):
        if not before > size > after:
            _LOG.warning(
                "%s has %s parameters, which is not between its teacher's %s and the next model's "
                "%s; an assistant helps where it bridges a gap",
                *(place, f"{size:,}", f"{before:,}", f"{after:,}"),
            )
        before = size


def _building(
    place: str,
    settings: ModelSettings,
    inputs: Mapping[str, InputSpec],
    output: OutputSpec,
) -> Callable[[], keras.Model] | None:
    """What builds a model; None of a teacher that is none, or whose file is gone, as it may be."""
    if not isinstance(settings, TeacherSettings) or settings.kind == "model":
        return functools.partial(zoo.build_model, settings, inputs, output)
    label_map(settings.labels, output, place)
    if settings.kind == "keras_file" and files.exists(settings.name):
        return functools.partial(load_teacher, settings, inputs, output, place)
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
    settings: DistillSettings, teacher: keras.Model | None, student: keras.Model, task: Task
) -> None:
    if teacher is None:
        return
    try:
        Distiller(teacher, student, settings.methods, task=task)
    except ConfigError as error:
        raise ConfigError(f"distill.{error}") from error


def _check_slice_values(gate: GateSettings, output: OutputSpec) -> None:
    """Of the features of a slice, the class' values are known before the judgment."""
    for index, limit in enumerate(gate.limits):
        name = (limit.slice or {}).get(CLASS_NAME)
        if name is not None and output.classes and name not in output.classes:
            raise ConfigError(
                f"gate.limits.{index}.slice: {CLASS_NAME} must be one of "
                f"{', '.join(output.classes)}, got {name!r}{did_you_mean(name, output.classes)}"
            )


def _check_slices(config: PipelineConfig, known: tuple[str, ...]) -> None:
    for features in config.evaluate.slices:
        for name in features:
            if name not in known:
                raise ConfigError(
                    f"evaluate.slices: {name!r} must be a feature of the examples, which are "
                    f"{', '.join(known)}"
                )
