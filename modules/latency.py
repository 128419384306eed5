"""Times models against each other on one runtime, and says how much faster one is.

A machine's speed drifts while one measures. Two models timed one after the other are timed on
two machines, so to speak; here they take turns in short blocks, and only blocks of the same
round are compared. NumPy is imported with the module, SciPy and LiteRT only where needed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.errors import ModelError
from modules.settings import LatencySettings

LITERT = "litert"
BOOTSTRAP_RESAMPLES = 9_999

Runner = Callable[[], object]


@dataclass(frozen=True, eq=False)
class Timing:
    """Latencies of one model.

    Attributes:
        block_latencies_ms: `[blocks, queries]` float64, milliseconds per single-example
            inference; row `i` was taken in round `i`, in which every model had its turn.
        threads: threads the runtime was given.
        runtime: what ran the model.

    Raises:
        ValueError: there is no latency, or one is not a positive number.
    """

    block_latencies_ms: NDArray[np.float64]
    threads: int
    runtime: str = LITERT

    def __post_init__(self) -> None:
        latencies = self.block_latencies_ms
        if latencies.ndim != 2 or latencies.size == 0:
            raise ValueError(
                f"block_latencies_ms must have shape [blocks, queries], got {latencies.shape}"
            )
        if not (np.isfinite(latencies).all() and (latencies > 0).all()):
            raise ValueError("block_latencies_ms must be positive and finite")

    def summary(self) -> dict[str, Any]:
        """Latency over all queries, as the report states it.

        Returns:
            `p50_ms`, `p90_ms`, `p99_ms` by `percentile`; `throughput`, inferences per second of
            one stream, queries / summed latency; `runtime`; `threads`.
        """
        latencies = self.block_latencies_ms.ravel()
        return {
            "p50_ms": percentile(latencies, 50),
            "p90_ms": percentile(latencies, 90),
            "p99_ms": percentile(latencies, 99),
            "throughput": float(latencies.size / (latencies.sum() / 1e3)),
            "runtime": self.runtime,
            "threads": self.threads,
        }


def percentile(latencies: NDArray[np.float64], percent: int) -> float:
    """The latency of one real query, not an interpolation between two.

    Of the `n` latencies in ascending order it is number `floor(n * percent / 100)`, counted from
    zero. This is the rule of MLPerf's LoadGen for its single-stream scenario (mlcommons/inference,
    loadgen/results.cc, ProcessLatencies). Where `n * percent / 100` is whole, it lies one rank
    above the textbook's nearest rank: the careful side for a latency.

    Args:
        latencies: `[n]`, at least one.
        percent: an integer in `[0, 100)`, so that the rank is computed without rounding.
    """
    if not 0 <= percent < 100:
        raise ValueError(f"percent must be in [0, 100), got {percent}")
    rank = latencies.size * percent // 100
    return float(np.partition(latencies, rank)[rank])


def measure(
    runners: Mapping[str, Runner], settings: LatencySettings, seed: int, runtime: str = LITERT
) -> dict[str, Timing]:
    """Times single-example inferences of several models in interleaved blocks.

    After the warm-up of all models come `settings.blocks` rounds. In a round each model runs one
    block of `settings.queries_per_block` timed inferences; the order of the models is drawn anew
    for each round, so that none always follows the same other. Each block starts with one untimed
    inference, and Python's garbage collector rests until it ends.

    Args:
        runners: by model name; one call is one inference of one example.
        settings: blocks, queries, warm-up, and the threads the runners were made with.
        seed: of the order within the rounds.
        runtime: name of what runs all of them, for the record.

    Returns:
        One `Timing` per model, with `block_latencies_ms` `[blocks, queries_per_block]`.

    Raises:
        ValueError: there is no runner.
    """
    if not runners:
        raise ValueError("runners must name at least one model to time, got none")
    for runner in runners.values():
        for _ in range(settings.warmup_queries):
            runner()
    names = list(runners)
    rng = np.random.default_rng(seed)
    blocks: dict[str, list[list[int]]] = {name: [] for name in names}
    for _ in range(settings.blocks):
        for index in rng.permutation(len(names)):
            name = names[index]
            blocks[name].append(_time_block(runners[name], settings.queries_per_block))
    return {
        # A query below the clock's resolution took some time all the same: at least 1 ns.
        name: Timing(np.maximum(np.array(rows), 1) / 1e6, settings.threads, runtime)
        for name, rows in blocks.items()
    }


def _time_block(runner: Runner, queries: int) -> list[int]:
    """Nanoseconds of each of `queries` inferences in a row."""
    clock = time.perf_counter_ns
    nanoseconds = [0] * queries
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        # The model before has emptied the caches: here the first inference of a small model took
        # 1.4 to 1.9 times its median. One in 50 is enough to make that its p99.
        runner()
        for query in range(queries):
            start = clock()
            runner()
            nanoseconds[query] = clock() - start
    finally:
        if was_enabled:
            gc.enable()
    return nanoseconds


def speedup(teacher: Timing, student: Timing, confidence: float, seed: int) -> dict[str, Any]:
    """How many times faster the student is, with the uncertainty of this measurement.

    The ratio `median(teacher block) / median(student block)` is taken per round, since both
    blocks of a round met the same state of the machine. The result is the median ratio; its
    interval is a percentile bootstrap over the rounds (Efron and Tibshirani 1993, chapter 13).

    Args:
        teacher: timing from one call of `measure`.
        student: timing from the same call.
        confidence: level of the interval, in (0, 1).
        seed: of the resampling.

    Returns:
        `median`, `ci_low`, `ci_high` (ratios; above 1 the student is faster), `confidence`,
        `runtime`.

    Raises:
        ValueError: runtime, threads or number of rounds differ, or there are fewer than two.
    """
    _require_comparable(teacher, student)
    from scipy import stats  # a second to import, and only wanted once there is a measurement

    ratios = np.median(teacher.block_latencies_ms, axis=1) / np.median(
        student.block_latencies_ms, axis=1
    )
    interval = stats.bootstrap(
        (ratios,),
        np.median,
        n_resamples=BOOTSTRAP_RESAMPLES,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return {
        "median": float(np.median(ratios)),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "confidence": confidence,
        "runtime": teacher.runtime,
    }


def _require_comparable(teacher: Timing, student: Timing) -> None:
    ours, theirs = (
        {"runtime": t.runtime, "threads": t.threads, "rounds": len(t.block_latencies_ms)}
        for t in (teacher, student)
    )
    if ours != theirs:
        raise ValueError(
            "teacher and student must be timed alike, in one call of measure, "
            f"got {ours} and {theirs}"
        )
    if len(teacher.block_latencies_ms) < 2:
        raise ValueError("speedup needs at least two rounds to resample, got one")


def litert_runner(tflite_path: str | Path, threads: int, examples: NDArray[Any]) -> Runner:
    """Loads a TFLite file and returns a function that runs it on the next example.

    One call sets the input, invokes the interpreter and reads the output: what an application
    pays for one answer, `[1, classes]`. The calls go round and round the examples. LiteRT applies
    its XNNPACK delegate, as it does by default.

    Args:
        tflite_path: a file with one input and one output, of batch size 1.
        threads: for the interpreter.
        examples: `[k, ...]`, k >= 1, in the dtype of the file's input (uint8 for images);
            nothing is converted, because a cast would be timed too.

    Raises:
        ModelError: the file cannot be loaded, or does not take such examples one by one.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(tflite_path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"LiteRT cannot load {tflite_path}: {error}") from error
    inputs = interpreter.get_input_details()
    _require_fitting(tflite_path, inputs, examples)
    input_index, output_index = inputs[0]["index"], interpreter.get_output_details()[0]["index"]
    batches = cycle([np.ascontiguousarray(example)[np.newaxis] for example in examples])

    def run() -> object:
        interpreter.set_tensor(input_index, next(batches))
        interpreter.invoke()
        return interpreter.get_tensor(output_index)

    return run


def _require_fitting(
    tflite_path: str | Path, inputs: list[dict[str, Any]], examples: NDArray[Any]
) -> None:
    """Holds the examples against the file's input; LiteRT's own errors name no file."""
    if len(examples) == 0:
        raise ModelError(f"{tflite_path} cannot be timed without an example; pass at least one")
    wanted = [f"{np.dtype(one['dtype'])} {tuple(one['shape'].tolist())}" for one in inputs]
    given = f"{examples.dtype} {(1, *examples.shape[1:])}"
    if wanted != [given]:
        raise ModelError(
            f"{tflite_path} takes {' and '.join(wanted)}, but one example is {given}; "
            "pass what Transform emits"
        )
