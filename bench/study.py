"""Whether distillation pays: many data sets, students and numbers of labels, four ways to train.

    make study
    make study ARGS='--cells digits sentiment/few --seeds 3'
    make study ARGS=--quick

Six data sets of three kinds, three students of each, with all labels and with a tenth of them while
the other examples are unlabeled: 36 cells. In each cell and seed the same student is trained four
times from the same first weights:

- control: from the labels alone, in as many steps;
- auto: what the project does by itself, its choices made on the validation part;
- plain: soft targets at T = 4 with alpha = 0.1;
- keras: `keras.distillation`, its documented way, in as much processor time as `auto` took.

One teacher of a data set, number of labels and seed teaches all its students. A seed is another
split, other labels that are kept, other first weights and another order. The eval split is looked
at once, when everything is trained.

Reported: accuracy on the eval split, and the gain over the control with its 95 % interval. What
fails stays in the table.

Writes bench/study.json after each cell and seed, docs/study.svg, and the table in
docs/benchmarks.md. What is in bench/study.json and still up to date is not trained again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.sections import replace_section
from bench.study_cells import LABELS, ROOT, SIZES, Group, cell_names, study_digest
from bench.study_report import draw, summarize, table
from modules.processes import die_with_parent

DOCUMENT = ROOT.parent / "docs" / "benchmarks.md"
RESULTS = ROOT / "study.json"
# Those before it were looked at while models, recipes and the search's rules were chosen.
FIRST_SEED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=[], metavar="DATA[/LABELS[/STUDENT]]")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--quick", action="store_true", help="two epochs each, to see that it runs")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="a JSON file; the documents stay as they are")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2, or there is no interval")
    cells = chosen_cells(arguments.cells)
    if not cells:
        parser.error(f"--cells must begin names such as {next(cell_names())}")
    output = arguments.output
    if arguments.quick and output is None:
        output = Path(tempfile.gettempdir()) / "study_quick.json"
    study = Study(output or RESULTS, cells, arguments.seeds, arguments.quick)
    study.run(arguments.processes)
    results = study.results()
    if output:
        print(table(results), f"\n{output}")
    else:
        replace_section(DOCUMENT, "study", table(results))
        draw(results["summary"], DOCUMENT.parent / "study.svg")


def chosen_cells(asked: Sequence[str]) -> list[str]:
    """The cells whose names begin with one of those; all if none is given."""
    return [
        cell
        for cell in cell_names()
        if not asked or any(f"{cell}/".startswith(f"{each}/") for each in asked)
    ]


class Study:
    """What is to be done, and what is there.

    Args:
      path: Of the results.
      cells: Names.
      seeds: How many.
      quick: Whether every model takes few epochs.
    """

    def __init__(self, path: Path, cells: Sequence[str], seeds: int, quick: bool):
        self._path, self._cells, self._seeds, self._quick = path, cells, seeds, quick
        self._digest = study_digest()
        found = json.loads(path.read_text())["runs"] if path.exists() else []
        self._runs = {(run["cell"], run["seed"]): run for run in found if self._is_current(run)}
        if len(self._runs) < len(found):
            print(f"{len(found) - len(self._runs)} results are of other code or settings: dropped")

    def _is_current(self, run: dict[str, Any]) -> bool:
        if run["cell"] not in cell_names():
            return False
        name, labels, size = run["cell"].split("/")
        group = Group(name, labels, run["seed"], quick=self._quick)
        return bool(run["key"] == group.key(size, self._digest))

    def groups(self) -> Iterator[Group]:
        """What is still to be trained, first one seed of everything."""
        for seed in range(FIRST_SEED, FIRST_SEED + self._seeds):
            for name in dict.fromkeys(cell.split("/")[0] for cell in self._cells):
                for labels in LABELS:
                    sizes = [
                        size
                        for size in SIZES
                        if (cell := f"{name}/{labels}/{size}") in self._cells
                        and (cell, seed) not in self._runs
                    ]
                    if sizes:
                        yield Group(name, labels, seed, tuple(sizes), self._quick)

    def run(self, processes: int) -> None:
        """Train what is missing; results are written as they come."""
        groups = list(self.groups())
        left = sum(len(group.students) for group in groups)
        print(f"{left} cells and seeds to train, {len(self._runs)} are there", flush=True)
        progress = _Progress(left)
        results: queue.Queue[dict[str, Any]] = queue.Queue()
        pool = ThreadPoolExecutor(processes)
        jobs = [pool.submit(_in_process, group, self._digest, results.put) for group in groups]
        try:
            for result in _arriving(results, jobs):
                self._runs[result["cell"], result["seed"]] = result
                self._write()
                progress.tell(result)
            for job in jobs:
                job.result()  # Whatever kept a process from being started.
        finally:
            pool.shutdown(cancel_futures=True)

    def results(self) -> dict[str, Any]:
        """All runs with their summary."""
        runs = list(self._runs.values())
        return {
            "quick": self._quick,
            "hours": sum(run["seconds"] for run in runs) / 3600,
            "summary": summarize(runs),
            "runs": runs,
        }

    def _write(self) -> None:
        aside = self._path.with_suffix(".part")
        aside.write_text(json.dumps(self.results(), indent=1) + "\n")
        aside.replace(self._path)


def _in_process(
    group: Group, digest: str, send: Callable[[dict[str, Any]], None], target: Any = None
) -> None:
    """Train a group in a process of its own, whose end, whatever it is, ends nothing else.

    TensorFlow's memory grows with what a process has trained, and a group has a teacher to share.
    """
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=target or _run_group, args=(group, digest, sender))
    process.start()
    sender.close()
    left = list(group.students)
    try:
        while True:
            result = receiver.recv()
            left.remove(result["cell"].rpartition("/")[2])
            send(result)
    except EOFError:
        process.join()
    for size in left:
        send(group.failure(size, digest, f"the process has ended with {process.exitcode}"))


def _run_group(group: Group, digest: str, sender: Any) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    die_with_parent(parent.pid)
    # Here alone: what the pipeline needs takes seconds to import.
    from bench import study_worker

    study_worker.begin()
    study_worker.run_group(group, digest, sender.send)


def _arriving(results: Any, jobs: Sequence[Future[None]]) -> Iterator[dict[str, Any]]:
    """Results until all jobs have ended, well or not."""
    while True:
        ended = all(job.done() for job in jobs)
        try:
            yield results.get(timeout=0 if ended else 1)
        except queue.Empty:
            if ended:
                return


class _Progress:
    """One line for each result, with the time that the others will take."""

    def __init__(self, left: int):
        self._left, self._done, self._begin = left, 0, time.monotonic()

    def tell(self, result: dict[str, Any]) -> None:
        self._done += 1
        passed = (time.monotonic() - self._begin) / 60
        remaining = passed / self._done * (self._left - self._done)
        arms = result.get("arms", {})
        told = "  ".join(
            f"{name} {arm['accuracy']:.4f} ({arm['seconds']:.0f} s)"
            if "accuracy" in arm
            else f"{name} failed"
            for name, arm in arms.items()
        )
        print(
            f"{self._done}/{self._left}  {result['cell']} seed {result['seed']}  "
            f"{told or result.get('error')}  {passed:.0f} min, about {remaining:.0f} more",
            flush=True,
        )


if __name__ == "__main__":
    main()
