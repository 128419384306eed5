"""How fast the student is trained: alone, distilled by us, distilled by `keras.distillation`.

    make bench

Ways to train the same student on the same examples with the same batch size, in one process and
one run: (a) the student alone with plain Keras `fit` at its best settings; (b) ours with cached
soft targets; (c) ours with the teacher in every step; (d) `keras.distillation.Distiller` with a
correct Kullback-Leibler loss, compiled as its documentation does, and once more with the settings
of (a). They take turns, in another order every round; a figure is the median over
rounds, a ratio is taken per round. Every way has compiled and warmed up before it is timed.

(a) / (d) is the limit of (b) / (d): what a distillation that costs nothing would reach with this
student and teacher on this machine.

Writes bench/throughput.json and the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from records import Record, image_spec, write_records
from sections import replace_section
from tabulate import tabulate

from modules.data.examples import ExampleData, Order
from modules.data.spec import DataSpec
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.judge import evidence
from modules.models import zoo
from modules.settings import AugmentSettings, DataSettings, ModelSettings, TrainSettings
from modules.teachers import cache, soft_targets

ROOT = Path(__file__).parent
SHAPE, CLASSES, BATCH = (32, 32, 3), 10, 64
SPEC = image_spec(SHAPE, CLASSES)
TEACHERS = {
    "resnet20": ModelSettings(
        model="resnet_small", parameters={"widths": [16, 32, 64], "blocks": 3}
    ),
    "resnet50": ModelSettings(model="resnet50"),
}
STUDENT = ModelSettings(model="cnn_tutorial")
WAYS = ("student_alone", "cached", "online", "keras_distillation", "keras_distillation_tuned")
# A compiled model and what `fit` is given.
Way = tuple[keras.Model, tf.data.Dataset]
RATIOS = {
    "cached_to_student_alone": "cached / alone",
    "cached_to_student_alone_cpu": "… in processor time",
    "cached_to_keras_distillation": "cached / keras.distillation",
    "student_alone_to_keras_distillation": "its limit, alone / keras.distillation",
}
# Plain `fit` is timed at its own best setting; seen here: more steps in a call, no XLA.
BEST: dict[str, Any] = {"steps_per_execution": 16, "jit_compile": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, help="a JSON file; the documents stay as they are")
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "examples": arguments.examples,
        "rounds": arguments.rounds,
        "batch_size": BATCH,
        "student": STUDENT.model,
        "environment": evidence.environment().model_dump(),
    }
    directory = Path(tempfile.mkdtemp())
    try:
        files = [write_records(directory / "examples.gz", random_records(arguments.examples))]
        for name, settings in TEACHERS.items():
            results[name] = measure(settings, files, directory / name, arguments.rounds)
            print(name, json.dumps(results[name], indent=2))
    finally:
        shutil.rmtree(directory)
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    content = json.dumps(results, indent=2) + "\n"
    (arguments.output or ROOT / "throughput.json").write_text(content)
    if arguments.output:
        print(table(results))
    else:
        replace_section(ROOT.parent / "docs" / "benchmarks.md", "throughput", table(results))


def random_records(count: int, shape: tuple[int, int, int] = SHAPE) -> Iterator[Record]:
    """Random images: the speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.bytes(int(np.prod(shape)))
        yield pixels, int(rng.integers(CLASSES)), f"{index:064d}".encode()


def measure(settings: ModelSettings, files: list[str], directory: Path, rounds: int) -> Any:
    """Examples per second of every way with one teacher, and the ratios."""
    data_settings = DataSettings(validation_fraction=0.02)
    teacher = zoo.build_model(settings, SPEC.by_name, SPEC.output)
    plain = ExampleData(files, SPEC, data_settings)
    started = time.perf_counter()
    soft_targets.compute(
        [teacher], plain, soft_targets.Request(0, AugmentSettings(), 0), str(directory)
    )
    once = time.perf_counter() - started
    cached = ExampleData(files, SPEC, data_settings, cache.SoftTargetCache(str(directory)))
    epochs = epochs_of(plain)
    ways: dict[str, Way] = {
        "student_alone": (student_alone(student()), labels_alone(epochs)),
        "cached": (ours(student(), []), epochs_of(cached)),
        "online": (ours(student(), [teacher]), epochs),
        "keras_distillation": (keras_distillation(student(), teacher, {}), labels_alone(epochs)),
        "keras_distillation_tuned": (
            keras_distillation(student(), teacher, BEST),
            labels_alone(epochs),
        ),
    }
    for model, dataset in ways.values():
        model.fit(dataset, verbose=0)
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    # What other work on the machine takes away is in the first, and hardly in the second.
    cpu_seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name in rng.permutation(WAYS):
            model, dataset = ways[name]
            begin, cpu_begin = time.perf_counter(), time.process_time()
            model.fit(dataset, verbose=0)
            seconds[name].append(time.perf_counter() - begin)
            cpu_seconds[name].append(time.process_time() - cpu_begin)
    times = {name: np.array(values) for name, values in seconds.items()}
    cpu_times = {name: np.array(values) for name, values in cpu_seconds.items()}
    examples = plain.training_count()
    result: dict[str, Any] = {name: examples / float(np.median(times[name])) for name in WAYS}
    result |= {
        "cached_to_student_alone": ratio(times["student_alone"] / times["cached"]),
        "cached_to_student_alone_cpu": ratio(cpu_times["student_alone"] / cpu_times["cached"]),
        "cached_to_keras_distillation": ratio(times["keras_distillation"] / times["cached"]),
        "student_alone_to_keras_distillation": ratio(
            times["keras_distillation"] / times["student_alone"]
        ),
        "jit_compile": {name: bool(model.jit_compile) for name, (model, _) in ways.items()},
        "soft_targets_seconds": once,
    }
    return result


def ratio(values: np.ndarray) -> dict[str, float]:
    """Median over rounds and its spread, the quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "quartile_low": float(low), "quartile_high": float(high)}


def student(settings: ModelSettings = STUDENT, spec: DataSpec = SPEC) -> keras.Model:
    """The same first weights in every way."""
    keras.utils.set_random_seed(0)
    return zoo.build_model(settings, spec.by_name, spec.output)


def epochs_of(data: ExampleData, batch: int = BATCH) -> tf.data.Dataset:
    """The input pipeline that all ways share."""
    return data.training(Order(batch, 0))


def labels_alone(epochs: tf.data.Dataset) -> tf.data.Dataset:
    """What Keras takes."""
    return epochs.map(lambda inputs, y: (inputs, y["label"]))


def student_alone(model: keras.Model) -> keras.Model:
    """(a) Plain Keras."""
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **BEST,
    )
    return model


def ours(
    model: keras.Model, teachers: list[keras.Model], settings: TrainSettings | None = None
) -> keras.Model:
    """(b) without and (c) with teachers."""
    distiller = Distiller(teachers, model)
    training.compile_distiller(distiller, settings or TrainSettings())
    return distiller


def keras_distillation(
    model: keras.Model, teacher: keras.Model, options: dict[str, Any]
) -> keras.Model:
    """(d) The peer, with an instance of the loss: its default string skips the softmax."""
    distiller = keras.distillation.Distiller(
        teacher=teacher,
        student=model,
        distillation_losses=keras.distillation.LogitsDistillation(
            temperature=4.0, loss=keras.losses.KLDivergence()
        ),
        student_loss_weight=0.1,
    )
    distiller.compile(
        optimizer=keras.optimizers.AdamW(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    return distiller


def table(results: dict[str, Any]) -> str:
    """The throughput section of docs/benchmarks.md."""
    rows = []
    for teacher in TEACHERS:
        figures = results[teacher]
        ratios = [figures[name] for name in RATIOS]
        rows.append(
            [teacher, *(f"{figures[way]:,.0f}" for way in WAYS)]
            + [
                f"{r['median']:.2f} ({r['quartile_low']:.2f}-{r['quartile_high']:.2f})"
                for r in ratios
            ]
        )
    headers = ["teacher", "student alone", "cached", "online", "keras.distillation", "… tuned"]
    headers += RATIOS.values()
    environment = results["environment"]
    return (
        f"Examples per second, `{results['student']}` at 32x32x3, batch {results['batch_size']}, "
        f"{results['examples']:,} examples, medians over {results['rounds']} interleaved rounds; "
        "ratios with their quartiles over rounds. "
        f"{environment['cpu']}, {environment['cpu_count']} cores, no accelerator; peak memory of "
        f"the whole benchmark {results['peak_memory_mb']:,.0f} MB.\n\n"
        + tabulate(rows, headers, tablefmt="github", disable_numparse=True, stralign="right")
    )


if __name__ == "__main__":
    main()
