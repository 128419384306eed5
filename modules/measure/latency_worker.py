"""The process in which models are timed: `python -m modules.measure.latency_worker DIRECTORY`.

A child of `latency`, and the only code that holds the stopwatch; see `TimingProcesses.measure`.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.export import runtimes
from modules.export.runtimes import RUNTIMES, Examples, LoadedModel, Query
from modules.measure import loadgen
from modules.measure.child_process import Parent

# A block lasts about this long where settings.queries_per_block would take longer.
BLOCK_SECONDS = 0.025
MIN_ROUNDS = 2
# A LoadGen test has an overhead of 30 ms and two log files, so a process runs few of them.
LOADGEN_ROUNDS = 3
# What LoadGen itself takes for a query: a system that answers nothing.
HARNESS = "harness"


@dataclass(frozen=True)
class TimingPlan:
    """How often everything is timed in a process, as the first process finds it feasible.

    Attributes:
      rounds: Of all models.
      queries: In a block, by model.
    """

    rounds: int
    queries: dict[str, int]


@dataclass(frozen=True, eq=False)
class TimedModel:
    """A model with the batches it is timed on."""

    query: Query
    batches: Sequence[Any]


def main(directory: str) -> None:
    """Imports the runtime, waits for its turn, loads all models of the task and times them."""
    parent = Parent(directory)
    task, arrays = parent.task()
    RUNTIMES[task["runtime"]].prepare_process(task["threads"])
    task |= parent.wait_for_turn()
    examples = runtimes.taken_by(task["runtime"], Examples.unpack(arrays))
    skipped: dict[str, dict[str, str]] = {}
    timed: dict[int, dict[str, TimedModel]] = {}
    loaded: dict[str, LoadedModel] = {}
    for size in task["batch_sizes"]:
        timed[size] = {}
        for name, path in task["models"].items():
            parent.note(path)
            try:
                model = loaded[name] = _load(task, path, size, loaded.get(name))
                timed[size][name] = _timed_model(model, examples)
            # Whatever a runtime raises, its file is the one that cannot be timed this way.
            except Exception as error:  # noqa: BLE001
                if size == 1:
                    return parent.fail(str(error))
                skipped.setdefault(str(size), {})[name] = str(error).partition("\n")[0]
    parent.note("")
    plans: dict[str, Any] = {}
    latencies: dict[str, NDArray[np.int64]] = {}
    for size, models in timed.items():
        if not models:
            continue
        plan, blocks = _time_way(task, size, models)
        plans[str(size)] = {"rounds": plan.rounds, "queries": plan.queries}
        latencies |= {f"{size}/{name}": np.array(rows) for name, rows in blocks.items()}
    parent.answer({"plans": plans, "skipped": skipped, "affinity": _affinity()}, latencies)


def _load(task: dict[str, Any], path: str, size: int, loaded: LoadedModel | None) -> LoadedModel:
    """A model for batches of a size; one that answers any is not loaded twice."""
    if loaded is not None and loaded.any_batch:
        return dataclasses.replace(loaded, batch_size=size)
    return runtimes.load(task["runtime"], path, task["threads"], size)


def _timed_model(model: LoadedModel, examples: Any) -> TimedModel:
    """The model with its batches, asked once: it may load and still refuse."""
    batches = model.batches(examples)
    model.query(batches[0])
    return TimedModel(model.query, batches)


def _affinity() -> list[int]:
    """The processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _time_way(
    task: dict[str, Any], size: int, models: dict[str, TimedModel]
) -> tuple[TimingPlan, dict[str, list[NDArray[np.int64]]]]:
    """Warms up, then runs the rounds; nanoseconds of `[queries]` by model and round."""
    rounds, queries, block_seconds = task["blocks"], task["queries"], BLOCK_SECONDS
    logs: Path | None = None
    if size == 1 and task["engine"] == "loadgen":
        longer = max(1.0, rounds / LOADGEN_ROUNDS)
        rounds, queries, block_seconds = (
            LOADGEN_ROUNDS,
            int(queries * longer),
            BLOCK_SECONDS * longer,
        )
        batches = next(iter(models.values())).batches
        models = models | {HARNESS: TimedModel(_answer_nothing, batches)}
        logs = Path(task["log_dir"]) / f"process_{task['process']}"
    seconds = {name: _warm_up(model, task["warmup"]) for name, model in models.items()}
    plan = make_plan(seconds, rounds, queries, block_seconds)
    if str(size) in task["plans"]:
        plan = TimingPlan(**task["plans"][str(size)])
        models = {name: model for name, model in models.items() if name in plan.queries}
    rng = np.random.default_rng([task["seed"], task["process"], size])
    names = list(models)
    blocks: dict[str, list[NDArray[np.int64]]] = {name: [] for name in names}
    for turn in range(plan.rounds):
        for index in rng.permutation(len(names)):
            name = names[index]
            model, queries = models[name], plan.queries[name]
            if logs is None:
                rows = time_block(model.query, model.batches, queries)
            else:
                directory = logs / f"round_{turn}" / name
                rows = loadgen.run_test(model.query, model.batches, queries, directory)
            blocks[name].append(rows)
    return plan, blocks


def _answer_nothing(_: Any) -> Any:
    return None


def _warm_up(model: TimedModel, queries: int) -> float:
    """Seconds of a query, its fastest: it must not depend on who else runs on this machine.

    The warm-up ends early where queries are slow.
    """
    clock = time.perf_counter
    seconds: list[float] = []
    end = clock() + 2 * BLOCK_SECONDS
    for query in range(queries):
        start = clock()
        model.query(model.batches[query % len(model.batches)])
        seconds.append(clock() - start)
        if clock() > end:
            break
    return min(seconds)


def make_plan(
    seconds: dict[str, float], rounds: int, queries: int, block_seconds: float = BLOCK_SECONDS
) -> TimingPlan:
    """As much as was asked for, or what fits the time.

    Args:
      seconds: Of a query, by model.
      rounds: Asked for. Where a query of the slowest model outlasts a block, there are as many
        times fewer, but `MIN_ROUNDS`.
      queries: In a block, asked for; fewer where the block would outlast `block_seconds`.
      block_seconds: What a block may last.
    """
    fitting = {name: block_seconds / max(one, 1e-9) for name, one in seconds.items()}
    share = min(1.0, *fitting.values())
    return TimingPlan(
        min(rounds, max(MIN_ROUNDS, int(rounds * share))),
        {name: int(np.clip(fit, 1, queries)) for name, fit in fitting.items()},
    )


def time_block(query: Query, batches: Sequence[Any], queries: int) -> NDArray[np.int64]:
    """Nanoseconds of each of `queries` queries in a row; Python's garbage collector rests."""
    clock = time.perf_counter_ns
    nanoseconds = [0] * queries
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        # The model before has emptied the caches: here the first inference of a small model took
        # 1.4 to 1.9 times its median. One in 50 is enough to make that its p99. A single query
        # that outlasts a block has no need of it.
        if queries > 1:
            query(batches[-1])
        for number in range(queries):
            batch = batches[number % len(batches)]
            start = clock()
            query(batch)
            nanoseconds[number] = clock() - start
    finally:
        if was_enabled:
            gc.enable()
    return np.array(nanoseconds, np.int64)


if __name__ == "__main__":
    main(sys.argv[1])
