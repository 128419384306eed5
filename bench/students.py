"""Trains the study's students, one in each process.

A student is so small that a second thread does not make it faster; a second process does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from records import IMAGE, Record, image_spec, write_records

from modules.data.examples import ExampleData
from modules.data.sources.digits import digits
from modules.data.splits import example_id, in_eval_split
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.models import storage, zoo
from modules.models.known import KnownModel
from modules.settings import AugmentSettings, DataSettings, DistillSettings, ModelSettings
from modules.teachers import cache, soft_targets

# A larger validation part than usual: options are chosen on it.
DATA = DataSettings(validation_fraction=0.25)
SPEC = image_spec((8, 8, 1), 10)
_EXAMPLES, _EVALUATION, _TEACHER, _SOFT_TARGETS = "train.gz", "eval.npz", "teacher", "soft_targets"
_KNOWN = "teacher.json"


@dataclass(frozen=True)
class Task:
    """One training and what the trained model is judged on.

    Attributes:
      model: What is trained.
      distill: The objective, or None: from the labels alone.
      seed: Of first weights and order.
      evaluate: Whether it is judged on the eval split instead of the validation part.
    """

    model: ModelSettings
    distill: DistillSettings | None
    seed: int
    evaluate: bool = False


def prepare(directory: Path, teacher_settings: ModelSettings) -> dict[str, Any]:
    """Writes examples, teacher and soft targets for `begin`; returns sizes and accuracies."""
    records: list[Record] = []
    held_out: list[tuple[np.ndarray, int]] = []
    for image, label in digits():
        identity, pixels = example_id(image), tf.io.decode_png(image).numpy()
        if in_eval_split(identity, DATA):
            held_out.append((pixels, label))
        else:
            records.append((pixels.tobytes(), label, identity))
    data = ExampleData([write_records(directory / _EXAMPLES, records)], SPEC, DATA)
    pixels, labels = zip(*held_out, strict=True)
    evaluation = np.stack(pixels), np.array(labels)
    np.savez(directory / _EVALUATION, *evaluation)
    teacher = _train(Task(teacher_settings, None, seed=7), data, [])
    storage.save_model(
        teacher, teacher_settings, SPEC.by_name, SPEC.output, str(directory / _TEACHER)
    )
    (directory / _KNOWN).write_text(KnownModel.of(teacher_settings).model_dump_json())
    soft_targets.compute(
        [teacher],
        data,
        soft_targets.Request(0, AugmentSettings(), 0),
        str(directory / _SOFT_TARGETS),
    )
    validation = _validation(data)
    return {
        "teacher_accuracy": _accuracy(teacher, evaluation),
        "teacher_validation_accuracy": _accuracy(teacher, validation),
        "teacher_parameters": teacher.count_params(),
        "training_examples": data.training_count(),
        "validation_examples": len(validation[1]),
        "eval_examples": len(evaluation[1]),
    }


class _Bench:
    """What a process needs for any task, loaded once."""

    def __init__(self, directory: Path):
        files = [str(directory / _EXAMPLES)]
        self.plain = ExampleData(files, SPEC, DATA)
        answers = cache.SoftTargetCache(str(directory / _SOFT_TARGETS))
        self.cached = ExampleData(files, SPEC, DATA, answers)
        known = KnownModel.model_validate_json((directory / _KNOWN).read_text())
        self.teacher = storage.load_model(str(directory / _TEACHER), known)
        self.validation = _validation(self.plain)
        self.evaluation_file = directory / _EVALUATION


_BENCH: _Bench | None = None


def begin(directory: Path) -> None:
    """Prepares this process."""
    global _BENCH
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    _BENCH = _Bench(directory)


def run(task: Task) -> float:
    """The accuracy of one trained student."""
    if _BENCH is None:
        raise RuntimeError("begin must be called first")
    online = task.distill is not None and task.distill.soft_targets == "online"
    data = _BENCH.cached if task.distill and not online else _BENCH.plain
    student = _train(task, data, [_BENCH.teacher] if online else [])
    if not task.evaluate:
        return _accuracy(student, _BENCH.validation)
    with np.load(_BENCH.evaluation_file) as arrays:
        return _accuracy(student, (arrays["arr_0"], arrays["arr_1"]))


def _train(task: Task, data: ExampleData, teachers: list[keras.Model]) -> keras.Model:
    keras.utils.set_random_seed(task.seed)
    model = zoo.build_model(task.model, SPEC.by_name, SPEC.output)
    if task.distill is None:
        distiller = Distiller(None, model, methods=())
    else:
        methods, alpha = task.distill.methods, task.distill.alpha
        distiller = Distiller(teachers, model, methods, alpha, task.distill.temperature)
    training.fit(distiller, data, training.Plan(task.model.train, task.seed, log_dir=None))
    return model


def _validation(data: ExampleData) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of the validation part."""
    batches = [(inputs[IMAGE].numpy(), y["label"].numpy()) for inputs, y in data.validation(256)]
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return pixels, labels


def _accuracy(model: keras.Model, split: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of a split that is classified rightly."""
    pixels, labels = split
    logits = keras.ops.convert_to_numpy(model({IMAGE: pixels}, training=False))
    return float((logits.argmax(-1) == labels).mean())
