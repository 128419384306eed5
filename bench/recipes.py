"""Which way of training wins: warm-up, averaged weights, batch statistics, what chooses the epoch.

    make recipes

On data sets of three kinds a teacher and its student are trained with each recipe, by the loop of
the pipeline. What is compared is measured on a part of the training split that neither learns nor
chooses the best epoch; the eval split has no part in it. Which examples these are, first weights
and order are other ones for each seed, and the same for all recipes.

Reported: the student's error (share of wrong answers, of a regression RMSE over the standard
deviation of the labels) by data set, mean over seeds; over all data sets and seeds the mean of the
logarithm of the ratio to the first recipe, with its 95 % interval over pairs (Student's t).

Writes bench/recipes.json and the table in docs/benchmarks.md. What is in the file already is not
trained again: a bench that was broken off, or is to have more seeds or recipes, goes on. --anew
forgets it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sections import replace_section
from study_report import paired
from tabulate import tabulate

from modules.settings import DataSettings, ModelSettings, TrainSettings

ROOT = Path(__file__).parent
DOCUMENT = ROOT.parent / "docs" / "benchmarks.md"
DATA = DataSettings(validation_fraction=0.15)
ALPHA, TEMPERATURE = 0.3, 3.0

FIRST = "cosine"
# By their names; what is not said is as in `OFF`.
_AVERAGE = {"schedule": "constant", "average": 0.1}
RECIPES: dict[str, dict[str, Any]] = {
    FIRST: {},
    "cosine, average": {"average": 0.1},
    "constant": {"schedule": "constant"},
    "constant, average": _AVERAGE,
    "constant, average, steps": {**_AVERAGE, "batch_norm": "steps"},
    "constant, average, warm-up": {**_AVERAGE, "warmup_epochs": 1.0},
    "constant, average, clip": {**_AVERAGE, "clip_norm": 1.0},
    "constant, average, metric": {**_AVERAGE, "monitor": "metric"},
}
OFF = {"schedule": "cosine", "average": 0.0, "batch_norm": "built", "monitor": "loss"}
OFF |= {"warmup_epochs": 0.0, "clip_norm": None}


@dataclass(frozen=True)
class Case:
    """The models of a data set.

    Attributes:
      teacher: Name and parameters.
      student: Name and parameters.
      epochs: Of both.
      rates: Learning rate of the teacher and of the student.
    """

    teacher: tuple[str, dict[str, Any]]
    student: tuple[str, dict[str, Any]]
    epochs: int
    rates: tuple[float, float]


_TABULAR = ("resnet_tabular", {"width": 32, "blocks": 2}), ("mlp", {"units": [16, 8]})
MODELS = {
    "digits": Case(
        ("resnet_small", {"widths": [8, 16], "blocks": 1, "dropout": 0.1}),
        ("separable_cnn", {"filters": [8, 16, 16]}),
        20,
        (0.003, 0.01),
    ),
    "mnist": Case(
        ("resnet_small", {"widths": [8, 16, 16], "blocks": 1, "dropout": 0.1}),
        ("separable_cnn", {"filters": [8, 16, 16, 16]}),
        8,
        (0.003, 0.01),
    ),
    "segments": Case(*_TABULAR, 40, (0.001, 0.01)),
    "rare": Case(*_TABULAR, 40, (0.001, 0.01)),
    "cancer": Case(*_TABULAR, 40, (0.001, 0.01)),
    "diamonds": Case(*_TABULAR, 25, (0.001, 0.01)),
    "sentiment": Case(
        ("text_cnn", {"width": 16, "filters": 32, "kernels": [1, 2], "dropout": 0.5}),
        ("text_cnn", {"width": 4, "filters": 8, "kernels": [1, 2]}),
        8,
        (0.001, 0.003),
    ),
}


@dataclass(frozen=True)
class Job:
    """A teacher and its student.

    Attributes:
      case: A key of `MODELS`.
      recipe: A key of `RECIPES`.
      seed: Of the parts, the first weights and the order.
    """

    case: str
    recipe: str
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--anew", action="store_true", help="train all of it again")
    parser.add_argument("--output", type=Path, help="a JSON file; the documents stay as they are")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, or there is no interval")
    file = arguments.output or ROOT / "recipes.json"
    runs = [] if arguments.anew or not file.exists() else json.loads(file.read_text())["runs"]
    done = {Job(each["case"], each["recipe"], each["seed"]) for each in runs}
    cells = itertools.product(range(arguments.seeds), arguments.recipes, arguments.cases)
    jobs = [job for seed, recipe, case in cells if (job := Job(case, recipe, seed)) not in done]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, spawn, begin) as pool:
        for job, result in zip(jobs, pool.map(run, jobs), strict=True):
            runs.append({"case": job.case, "recipe": job.recipe, "seed": job.seed, **result})
            print(runs[-1], flush=True)
            # After each, so that what is done is not lost.
            file.write_text(json.dumps({"recipes": RECIPES, "runs": runs}, indent=2) + "\n")
    if arguments.output:
        print(table(runs))
    else:
        replace_section(DOCUMENT, "recipes", table(runs))


def begin() -> None:
    """Prepares this process."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def run(job: Job) -> dict[str, Any]:
    """What teacher and student reach on the part that judges."""
    from recipe_data import load, write

    from modules.data.examples import ExampleData

    learned, judges = load(job.case, job.seed)
    with tempfile.TemporaryDirectory() as name:
        data = ExampleData([write(learned, Path(name) / "train.gz")], learned.spec, DATA)
        teacher, of_teacher = _trained(job, data, judges, None)
        _, of_student = _trained(job, data, judges, teacher)
    return {"teacher": of_teacher, "student": of_student}


def _trained(job: Job, data: Any, judges: Any, teacher: Any) -> tuple[Any, dict[str, float]]:
    import keras

    from modules.distill import training
    from modules.distill.distiller import Distiller
    from modules.models import zoo
    from modules.tasks.registry import make_task

    case, output = MODELS[job.case], data.spec.output
    name, parameters = case.student if teacher else case.teacher
    train = TrainSettings(
        epochs=case.epochs,
        patience=case.epochs,
        batch_size=32,
        learning_rate=case.rates[bool(teacher)],
        **(OFF | RECIPES[job.recipe]),
    )
    keras.utils.set_random_seed(job.seed)
    settings = ModelSettings(model=name, parameters=parameters, train=train)
    model = zoo.build_model(settings, data.spec.by_name, output)
    task = make_task(output.task, output.deviation)
    methods = "soft_target" if teacher else ()
    distiller = Distiller(teacher, model, methods, ALPHA, TEMPERATURE, task=task)
    training.fit(distiller, data, training.Plan(train, job.seed, log_dir=None))
    losses = distiller.history.history["val_hard_loss"]
    # What a training that goes well never does, once it has begun.
    jump = max(later / min(losses[:at]) for at, later in enumerate(losses) if at)
    return model, {**_judged(model, judges, task), "jump": jump}


def _judged(model: Any, judges: Any, task: Any) -> dict[str, float]:
    """Error and loss on the part that judges."""
    import keras

    (spec,) = judges.spec.inputs
    outputs = model.predict({spec.name: judges.inputs}, batch_size=256, verbose=0)
    labels = task.labels(keras.ops.convert_to_tensor(judges.labels))
    loss = float(np.mean(keras.ops.convert_to_numpy(task.hard_loss(labels, outputs))))
    if not task.has_logits:
        return {"error": float(np.sqrt(2 * loss)), "loss": loss}
    wrong = outputs.argmax(-1) != judges.labels
    shares = [float(wrong[judges.labels == each].mean()) for each in np.unique(judges.labels)]
    return {"error": float(wrong.mean()), "balanced": float(np.mean(shares)), "loss": loss}


def table(runs: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    found = {(each["recipe"], each["case"], each["seed"]): each for each in runs}
    recipes, cases, _ = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    rows = []
    for recipe in recipes:
        ours = {key[1:]: each for key, each in found.items() if key[0] == recipe}
        rows.append([recipe, len({seed for _, seed in ours})])
        for case in cases:
            errors = [each["student"]["error"] for key, each in ours.items() if key[0] == case]
            rows[-1].append(f"{100 * np.mean(errors):.1f}" if errors else "")
        first = {key: found[FIRST, *key] for key in ours if (FIRST, *key) in found}
        for role, kind in itertools.product(("teacher", "student"), ("error", "loss")):
            pairs = [(ours[key][role][kind], each[role][kind]) for key, each in first.items()]
            rows[-1].append("" if recipe == FIRST else _ratio(pairs))
    ratios = ["teacher, error", "teacher, loss", "student, error", "student, loss"]
    headers = ["recipe", "seeds", *cases, *ratios]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _ratio(pairs: list[tuple[float, float]]) -> str:
    """Of scores to those of the first recipe, as a change in %, with its interval."""
    # A tenth of a percent is added, so that no error at all is no infinite gain.
    ours, first = (np.log(np.array(each) + 0.001).tolist() for each in zip(*pairs, strict=True))
    change = paired(ours, first)
    mean, low, high = (100 * np.expm1(change[key]) for key in ("difference", "ci_low", "ci_high"))
    return f"{mean:+.0f} % ({low:+.0f} to {high:+.0f})"


if __name__ == "__main__":
    main()
