"""What unlabeled examples bring: few labels, a student and its control in equal steps.

    make bench-unlabeled

Digits of two sizes, of which so many keep their label; all others are unlabeled. The teacher learns
from the labels alone. Then the same student is trained three times from the same first weights, in
equally many steps: from the labels alone (the control), distilled on the labeled examples (--quick
leaves this one out), and distilled on all. Which examples keep their label, first weights and order
are other ones for each seed; the eval split is the same and nothing is chosen on it.

Reported: accuracy on the eval split, mean and standard deviation over seeds, and the paired
difference from the control with its 95 % confidence interval (Student's t).

Writes bench/unlabeled.json and the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from paired import paired
from records import IMAGE, Record, image_spec, write_records
from sections import replace_section
from tabulate import tabulate

from modules.settings import AugmentSettings, DataSettings, ModelSettings, TrainSettings

ROOT = Path(__file__).parent
DOCUMENT = ROOT.parent / "docs" / "benchmarks.md"
LABELS = (100, 200, 400)
ALPHA, TEMPERATURE = 0.1, 4.0
DATA = DataSettings(eval_fraction=0.2, validation_fraction=0.1, split_seed=1)
CONTROL, LABELED, ALL = "control", "distilled, labeled", "distilled, all"


@dataclass(frozen=True)
class Case:
    """Data, a teacher and a student.

    Attributes:
      side: Of the images, in pixels.
      teacher: It learns from the few labels.
      student: Its epochs are of all examples, or as many labeled ones.
      augment: Views of the images that all models are shown: the teacher others in every epoch,
        the students, the control among them, so many as are cached.
      views: How many those are; 0 without augmentation.
    """

    side: int
    teacher: ModelSettings
    student: ModelSettings
    augment: AugmentSettings
    views: int


def _model(name: str, parameters: dict[str, Any], epochs: int, **train: Any) -> ModelSettings:
    settings = TrainSettings(epochs=epochs, patience=epochs, **train)
    return ModelSettings(model=name, parameters=parameters, train=settings)


CASES = {
    "digits": Case(
        8,
        _model(
            "resnet_small",
            {"widths": [32, 64], "blocks": 2, "dropout": 0.5},
            200,
            batch_size=32,
            learning_rate=0.003,
            weight_decay=0.3,
        ),
        _model("separable_cnn", {"filters": [16, 32, 32]}, 60, batch_size=32, learning_rate=0.01),
        augment=AugmentSettings(),
        views=0,
    ),
    "mnist": Case(
        28,
        _model(
            "resnet_small",
            {"widths": [16, 32, 64], "blocks": 1, "dropout": 0.3},
            200,
            batch_size=32,
            learning_rate=0.003,
        ),
        _model(
            "separable_cnn", {"filters": [16, 32, 64, 64]}, 20, batch_size=64, learning_rate=0.01
        ),
        augment=AugmentSettings(pad_crop=3),
        views=20,
    ),
}


@dataclass(frozen=True)
class Job:
    """One teacher and its students.

    Attributes:
      case: A key of `CASES`.
      labels: How many examples keep their label, those of the validation part included.
      seed: Decides which, first weights and order.
      quick: Whether to leave out the student that is distilled on the labeled examples.
    """

    case: str
    labels: int
    seed: int
    quick: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--labels", nargs="+", type=int, default=LABELS)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two students instead of three")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="a JSON file; the documents stay as they are")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, or there is no interval")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    cells = itertools.product(arguments.cases, arguments.labels, seeds)
    jobs = [Job(*each, arguments.quick) for each in cells]
    spawn = multiprocessing.get_context("spawn")
    results: dict[str, Any] = {"alpha": ALPHA, "temperature": TEMPERATURE, "runs": []}
    with ProcessPoolExecutor(arguments.processes, spawn) as pool:
        for job, result in zip(jobs, pool.map(run, jobs), strict=True):
            done = {"case": job.case, "labels": job.labels, "seed": job.seed, **result}
            print(done, flush=True)
            results["runs"].append(done)
            # After each, so that what is done is not lost.
            file = arguments.output or ROOT / "unlabeled.json"
            file.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.output:
        print(table(results))
    else:
        replace_section(DOCUMENT, "unlabeled", table(results))


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows, models = [], ("teacher", CONTROL, LABELED, ALL)
    cells = dict.fromkeys((run["case"], run["labels"]) for run in results["runs"])
    for case, labels in cells:
        runs = [run for run in results["runs"] if (run["case"], run["labels"]) == (case, labels)]
        scores = {name: [run["accuracy"].get(name, np.nan) for run in runs] for name in models}
        shown = [_mean(each) for each in scores.values()]
        gain = paired(scores[ALL], scores[CONTROL])
        interval = f"{100 * gain['ci_low']:+.1f} to {100 * gain['ci_high']:+.1f}"
        difference = f"{100 * gain['difference']:+.1f}"
        counts = [labels, runs[0]["unlabeled"], runs[0]["eval"], len(runs)]
        rows.append([case, *counts, *shown, difference, interval])
    counts = ["labels", "unlabeled", "eval", "seeds"]
    headers = ["data", *counts, *models, "gain", "95 % interval"]
    head = (
        f"Accuracy on the eval split in %, mean and standard deviation over seeds; gain of the "
        f"last student over the control in points. Alpha {results['alpha']:g}, temperature "
        f"{results['temperature']:g}.\n\n"
    )
    return head + tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _mean(scores: list[float]) -> str:
    """Mean and standard deviation in %, and of how many seeds, where some were left out."""
    found = 100 * np.array([each for each in scores if np.isfinite(each)])
    if len(found) < 2:
        return "not run"
    count = f" ({len(found)} seeds)" if len(found) < len(scores) else ""
    return f"{found.mean():.1f} ± {found.std(ddof=1):.1f}{count}"


def run(job: Job) -> dict[str, Any]:
    """Accuracy of the teacher and the three students on the eval split."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as name:
        return _Bench(job, Path(name)).results()


class _Bench:
    """One job in its directory."""

    def __init__(self, job: Job, directory: Path):
        self._job, self._case, self._directory = job, CASES[job.case], directory
        self._spec = image_spec((self._case.side, self._case.side, 1), 10)
        training, self._evaluation = _split(job.case)
        order = np.random.default_rng(job.seed).permutation(len(training))
        kept, others = ([training[at] for at in places] for places in np.split(order, [job.labels]))
        self._files = [write_records(directory / "train.gz", kept)]
        hidden = [(pixels, -1, identity) for pixels, _, identity in others]
        self._unlabeled = [write_records(directory / "unlabeled.gz", hidden)]

    def results(self) -> dict[str, Any]:
        from modules.data.examples import ExampleData
        from modules.teachers import cache, soft_targets

        files, spec, unlabeled = self._files, self._spec, self._unlabeled
        teacher = self._train(self._case.teacher, ExampleData(files, spec, DATA), False, views=0)
        answers = str(self._directory / "soft_targets")
        every = ExampleData(files, spec, DATA, unlabeled_patterns=unlabeled)
        soft_targets.compute(
            [teacher],
            every,
            soft_targets.Request(self._case.views, self._case.augment, self._job.seed),
            answers,
        )
        cached = cache.SoftTargetCache(answers)
        alone = ExampleData(files, spec, DATA, None, unlabeled, labels_only=True)
        labeled = ExampleData(files, spec, DATA, cached, unlabeled, labels_only=True)
        taught = ExampleData(files, spec, DATA, cached, unlabeled)
        ways = {CONTROL: (alone, False), LABELED: (labeled, True), ALL: (taught, True)}
        if self._job.quick:
            del ways[LABELED]
        models = {"teacher": teacher}
        for name, (data, distills) in ways.items():
            models[name] = self._train(self._case.student, data, distills, self._case.views)
        return {
            "accuracy": {name: self._accuracy(model) for name, model in models.items()},
            "labeled": every.labeled_count,
            "unlabeled": every.unlabeled_count,
            "eval": len(self._evaluation),
            "parameters": [teacher.count_params(), models[ALL].count_params()],
        }

    def _train(self, settings: ModelSettings, data: Any, distills: bool, views: int) -> Any:
        import keras

        from modules.data.examples import View
        from modules.distill import training
        from modules.distill.distiller import Distiller
        from modules.models import zoo

        keras.utils.set_random_seed(self._job.seed)
        model = zoo.build_model(settings, self._spec.by_name, self._spec.output)
        methods = "soft_target" if distills else ()
        distiller = Distiller(None, model, methods, ALPHA, TEMPERATURE)
        augment, seed = self._case.augment, self._job.seed
        view = View(augment, views, seed) if augment.active else None
        plan = training.Plan(settings.train, seed, log_dir=None, view=view)
        training.fit(distiller, data, plan)
        return model

    def _accuracy(self, model: Any) -> float:
        pixels = np.frombuffer(b"".join(each for each, _, _ in self._evaluation), np.uint8)
        shape = (-1, self._case.side, self._case.side, 1)
        logits = model.predict({IMAGE: pixels.reshape(shape)}, verbose=0)
        labels = [label for _, label, _ in self._evaluation]
        return float((logits.argmax(-1) == labels).mean())


def _split(case: str) -> tuple[Sequence[Record], Sequence[Record]]:
    """Training and eval examples, as the presets have them."""
    import tensorflow as tf

    from modules.data.splits import example_id, in_eval_split

    parts: tuple[list[Record], list[Record]] = ([], [])
    for image, label in _images(case):
        identity = example_id(image)
        pixels = tf.io.decode_png(image, channels=1).numpy().tobytes()
        parts[in_eval_split(identity, DATA)].append((pixels, label, identity))
    return parts


def _images(case: str) -> Iterable[tuple[bytes, int]]:
    from modules.data.sources.digits import digits

    return digits() if case == "digits" else _mnist()


def _mnist() -> Iterator[tuple[bytes, int]]:
    import pyarrow.parquet as pq

    from modules.data.sources.embedded import locate

    rows = pq.read_table(locate("embedded:mnist.parquet")).to_pylist()
    return ((row["image"], row["digit"]) for row in rows)


if __name__ == "__main__":
    main()
