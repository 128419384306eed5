"""What each method of distillation brings on digits.

    make study

One teacher, and a student small enough to need help, trained alone and with each method from the
same first weights, once for each seed. First everything that can be chosen is chosen on the
validation part of the training split, with other seeds: the student's size, the learning rate of
the student alone, and each method's options, out of as many candidates as the student alone had.
Then the eval split is looked at, once, for what was chosen.

Reported: accuracy on the eval split, mean and standard deviation over seeds, and the paired
difference from the student alone with its 95 % confidence interval (Student's t). A method has
been shown to help or to harm where p, adjusted for the number of methods (Holm 1979), is below
0.05.

Writes bench/study.json, docs/study.svg and the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import students
from sections import replace_section
from students import Task
from study_report import ALONE, draw, summarize, table

from modules.distill.methods import METHODS
from modules.models import zoo
from modules.settings import DistillSettings, MethodSettings, ModelSettings, TrainSettings

# A method, its options, and the student's.
Choice = dict[str, Any]
STUDENT_OPTIONS = ("filters", "learning_rate")

ROOT = Path(__file__).parent
DOCUMENT = ROOT.parent / "docs" / "benchmarks.md"
TEACHER = ModelSettings(
    model="resnet_small",
    parameters={"widths": [16, 32], "blocks": 1, "dropout": 0.5},
    train=TrainSettings(epochs=40, learning_rate=0.003, weight_decay=0.3, patience=40),
)
TUNING_SEEDS = (100, 101)
# The largest of these students that, alone, stays so far below the teacher on the validation part.
FILTERS = ([3, 6], [4, 8], [6, 12], [8, 16])
NEEDS_HELP = 0.03
RATES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
ALPHA = 0.5
POOLED = {"student_layer": "features", "teacher_layer": "features"}
MAPS = {"student_layer": "block2", "teacher_layer": "stage2_block1"}


def grid(**options: Sequence[float]) -> list[Choice]:
    """All combinations of options."""
    names = options.keys()
    return [
        dict(zip(names, values, strict=True)) for values in itertools.product(*options.values())
    ]


# As many for each method as there are learning rates for the student alone. alpha stays at a half:
# with AdamW, which does not mind the scale of a loss, a weight does all that alpha could do.
CANDIDATES: dict[str, list[Choice]] = {
    "soft_target": grid(temperature=(2, 4), weight=(0.5, 2, 8)),
    "standardized": grid(temperature=(2, 4), weight=(1, 3, 9)),
    "logit_mse": grid(weight=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
    "decoupled": grid(temperature=(2, 4), weight=(0.1, 0.3, 1)),
    "dist": grid(temperature=(1, 4), weight=(0.5, 2, 8)),
    "hint": grid(weight=(0.03, 0.1, 0.3, 1, 3, 10)),
    "attention_transfer": grid(weight=(1, 3, 10, 30, 100, 300)),
    "similarity_preserving": grid(weight=(3, 10, 30, 100, 300, 1000)),
    "relational_distance": grid(weight=(0.1, 0.3, 1, 3, 10, 30)),
    "relational_angle": grid(weight=(0.1, 0.3, 1, 3, 10, 30)),
}
FIXED: dict[str, dict[str, Any]] = {
    "decoupled": {"warmup_epochs": 5},
    "hint": MAPS,
    "attention_transfer": MAPS,
    "similarity_preserving": POOLED,
    "relational_distance": POOLED,
    "relational_angle": POOLED,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="at least 2")
    parser.add_argument("--epochs", type=int, default=40, help="of every student")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="a JSON file; the documents stay as they are")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, or there is no interval")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        results = students.prepare(Path(name), TEACHER)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(arguments.processes, spawn, students.begin, (Path(name),)) as pool:
            train = Trainer(pool.map, arguments.epochs)
            results |= choose(train, results["teacher_validation_accuracy"])
            results |= measure(train, results["chosen"], list(range(arguments.seeds)))
    results |= {"epochs": arguments.epochs, "alpha": ALPHA, "fixed": FIXED}
    results["summary"] = summarize(results["accuracy"])
    results["minutes"] = (time.monotonic() - started) / 60
    text = table(results)
    (arguments.output or ROOT / "study.json").write_text(json.dumps(results, indent=2) + "\n")
    if arguments.output:
        print(text)
    else:
        replace_section(DOCUMENT, "study", text)
        draw(results, DOCUMENT.parent / "study.svg")


class Trainer:
    """Trains students, several at a time.

    Args:
      run_all: Maps a function over tasks.
      epochs: Of every student.
    """

    def __init__(self, run_all: Callable[..., Iterable[float]], epochs: int):
        self._run_all = run_all
        self._epochs = epochs

    def accuracies(
        self, choices: Sequence[Choice], seeds: Sequence[int], evaluate: bool = False
    ) -> list[list[float]]:
        """Of each choice and seed: on the validation part, or on the eval split."""
        tasks = [
            Task(self.model(choice), distillation(choice), seed, evaluate)
            for choice in choices
            for seed in seeds
        ]
        accuracies = []
        for task, accuracy in zip(tasks, self._run_all(students.run, tasks), strict=True):
            accuracies.append(accuracy)
            print(f"{len(accuracies)}/{len(tasks)}  {describe(task)}  {accuracy:.4f}", flush=True)
        return np.reshape(accuracies, (len(choices), len(seeds))).tolist()

    def model(self, choice: Choice) -> ModelSettings:
        """The student."""
        train = TrainSettings(
            epochs=self._epochs, patience=self._epochs, learning_rate=choice["learning_rate"]
        )
        parameters = {"filters": choice["filters"]}
        return ModelSettings(model="separable_cnn", parameters=parameters, train=train)


def distillation(choice: Choice) -> DistillSettings | None:
    """The objective with one method, or None for the student alone."""
    options = {name: value for name, value in choice.items() if name not in STUDENT_OPTIONS}
    name = options.pop("method")
    if name == ALONE:
        return None
    method = MethodSettings(name=name, **FIXED.get(name, {}), **options)
    soft_targets = "online" if METHODS[name].features else "cached"
    return DistillSettings(alpha=ALPHA, soft_targets=soft_targets, methods=(method,))


def describe(task: Task) -> str:
    """For the progress."""
    method = task.distill.methods[0].model_dump(exclude_none=True) if task.distill else ALONE
    return f"{task.model.parameters} {task.model.train.learning_rate} {method} seed {task.seed}"


def choose(train: Trainer, teacher_accuracy: float) -> dict[str, Any]:
    """What does best on the validation part, and all that was tried.

    The student is the largest that needs help: the methods are given its size and learning rate.
    """
    every_size = _tried(
        train,
        [
            {"method": ALONE, "filters": filters, "learning_rate": rate}
            for filters in FILTERS
            for rate in RATES
        ],
    )
    sizes = [[row for row in every_size if row["filters"] == filters] for filters in FILTERS]
    alone = next(
        (
            candidates
            for candidates in reversed(sizes)
            if _best(candidates)["mean"] <= teacher_accuracy - NEEDS_HELP
        ),
        sizes[0],
    )
    student = {name: _best(alone)[name] for name in STUDENT_OPTIONS}
    listed = [
        student | {"method": name} | options
        for name, candidates in CANDIDATES.items()
        for options in candidates
    ]
    tried = _tried(train, listed)
    search = {name: [row for row in tried if row["method"] == name] for name in CANDIDATES}
    best = {name: _best(rows) for name, rows in {ALONE: alone, **search}.items()}
    scores = ("validation_accuracy", "mean")
    return {
        "tuning_seeds": TUNING_SEEDS,
        "search": {ALONE: every_size, **search},
        "chosen": {
            name: {key: value for key, value in row.items() if key not in scores}
            for name, row in best.items()
        },
    }


def _tried(train: Trainer, choices: list[Choice]) -> list[Choice]:
    accuracies = train.accuracies(choices, TUNING_SEEDS)
    return [
        choice | {"validation_accuracy": values, "mean": float(np.mean(values))}
        for choice, values in zip(choices, accuracies, strict=True)
    ]


def _best(rows: list[Choice]) -> Choice:
    """The first of those with the highest mean accuracy."""
    return max(rows, key=lambda row: row["mean"])


def measure(train: Trainer, chosen: dict[str, Choice], seeds: list[int]) -> dict[str, Any]:
    """The eval split's only use."""
    accuracies = train.accuracies(list(chosen.values()), seeds, evaluate=True)
    spec = students.SPEC
    student = zoo.build_model(train.model(chosen[ALONE]), spec.by_name, spec.output)
    return {
        "student_parameters": student.count_params(),
        "seeds": seeds,
        "accuracy": dict(zip(chosen, accuracies, strict=True)),
    }


if __name__ == "__main__":
    main()
