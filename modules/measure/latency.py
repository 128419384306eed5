"""Times models against each other, and says how much faster one is.

A machine's speed drifts while one measures, so models take turns in short blocks and only blocks
of the same round are compared. A process has luck of its own (memory layout, core, neighbors), so
everything is timed in several fresh processes, and the intervals are those of `repetition`. The
models run in `latency_worker`; here only its numbers are read, with NumPy alone.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.errors import ModelError
from modules.export.runtimes import LITERT, RUNTIMES, SAVED_MODEL, Examples, ModelFile
from modules.measure import latency_worker, loadgen
from modules.measure.child_process import Child, ChildError
from modules.measure.latency_worker import HARNESS
from modules.measure.repetition import Resampling
from modules.measure.timing import Timing, speedup
from modules.settings import LatencySettings

_LOG = logging.getLogger("tfx_distill.evaluation")
TEACHER = "teacher"
# The teacher's file once more, loaded independently: the A/A control.
AGAIN = "teacher_again"
# TensorFlow takes seconds to start. Nothing is gated on it by default, so a wider interval will do.
_MOST_PROCESSES = {SAVED_MODEL: 3}
_TIME_LIMIT_S = 1800.0


@dataclass(frozen=True, eq=False)
class Measurements:
    """All that was timed.

    Attributes:
      timings: By way (`<runtime>_batch_<size>`), then by role; `teacher_again` is the A/A
        control. A model that refuses a batch size is absent there.
      harness: By way, what LoadGen takes for a query; empty if it was not used.
      affinity: Processors the timing processes were free to run on.
      seed: Of the resampling.
    """

    timings: Mapping[str, Mapping[str, Timing]]
    harness: Mapping[str, Timing]
    affinity: Sequence[int]
    seed: int

    @cached_property
    def _resamplings(self) -> dict[str, Resampling]:
        """One for all models of a way: they shared their processes."""
        found = {}
        for way, models in self.timings.items():
            processes, rounds, _ = next(iter(models.values())).latencies_ms.shape
            found[way] = Resampling.draw(processes, rounds, self.seed)
        return found

    def summaries(self, confidence: float) -> dict[str, dict[str, dict[str, Any]]]:
        """By role and way, what the report's `Latency` holds."""
        found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for way, models in self.timings.items():
            for role, timing in models.items():
                if role != AGAIN:
                    found[role][way] = timing.summary(self._resamplings[way], confidence)
        return dict(found)

    def speedups(self, confidence: float) -> dict[str, dict[str, dict[str, Any]]]:
        """By way and role, how many times faster than the teacher: the report's `Speedup`."""
        return {
            way: {
                role: self._speedup(way, role, confidence)
                for role in models
                if role not in (TEACHER, AGAIN)
            }
            for way, models in self.timings.items()
            if TEACHER in models
        }

    def aa_control(self, confidence: float) -> dict[str, dict[str, Any]]:
        """By way, the teacher against itself, loaded twice: it should be 1."""
        return {
            way: self._speedup(way, AGAIN, confidence)
            for way, models in self.timings.items()
            if TEACHER in models and AGAIN in models
        }

    def _speedup(self, way: str, role: str, confidence: float) -> dict[str, Any]:
        models = self.timings[way]
        return speedup(
            models[TEACHER], models[role], self._resamplings[way], confidence, self.harness.get(way)
        )


class TimingProcesses:
    """Fresh processes that time models; as a context, started together and ended together.

    LiteRT runs in `settings.processes` processes, TensorFlow in at most 3. Starting, they import
    their runtime, and cost only memory until `measure` gives them their turns, one at a time.

    Args:
      files: Any number; on a runtime without a teacher nothing is compared with it.
      examples: The models go round and round them.
      settings: Processes, blocks, queries, warm-up, batch size and threads; with the engine
        `loadgen`, MLPerf LoadGen times single examples on LiteRT, as many in all.
      seed: Of the order within the rounds, and of the resampling.
      log_dir: Where LoadGen's logs are kept.
      throughput: Whether to time batches of `settings.batch_size` beside single examples.

    Raises:
      ConfigError: The engine is `loadgen`, which is not installed.
      ValueError: LoadGen has no directory.
    """

    def __init__(
        self,
        files: Sequence[ModelFile],
        examples: Examples,
        settings: LatencySettings,
        seed: int,
        log_dir: str | None = None,
        throughput: bool = True,
    ):
        if settings.engine == "loadgen":
            loadgen.require()
            if log_dir is None:
                raise ValueError("log_dir must be given for the engine loadgen")
        self._settings, self._seed, arrays = settings, seed, examples.pack()
        self._stack = contextlib.ExitStack()
        self._tasks: list[dict[str, Any]] = []
        self._children: list[list[Child]] = []
        for runtime in RUNTIMES:
            paths = {each.role: each.path for each in files if each.runtime == runtime}
            if not paths:
                continue
            sizes = [1, settings.batch_size] if throughput else [1]
            task = _task(runtime, paths, settings, seed)
            task |= {"log_dir": log_dir, "batch_sizes": sizes}
            most = _MOST_PROCESSES.get(runtime, settings.processes)
            numbers = range(min(settings.processes, most))
            self._tasks.append(task)
            self._children.append(
                [
                    Child(latency_worker, task | {"process": number}, arrays, _TIME_LIMIT_S)
                    for number in numbers
                ]
            )

    def __enter__(self) -> TimingProcesses:
        with self._stack:
            for children in self._children:
                for child in children:
                    self._stack.enter_context(child)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def measure(self) -> Measurements:
        """Times single examples and batches of all files, on their runtimes.

        Each process loads all models of its runtime, and the teacher twice. After the warm-up come
        `settings.blocks` rounds, in which each model answers a block of
        `settings.queries_per_block` queries; the order within a round is drawn anew. A block
        starts with one untimed query and has fewer where it would last longer than 25 ms; where a
        single query does, there are fewer rounds too, at least two. The first process decides
        this for all.

        Raises:
          ModelError: A file cannot be loaded or asked, or its process died or hung.
        """
        # Nothing may run beside the stopwatch, not even an import.
        for task, children in zip(self._tasks, self._children, strict=True):
            for child in children:
                with _explained(task):
                    child.wait_until_ready()
        timings: dict[str, dict[str, Timing]] = {}
        harness: dict[str, Timing] = {}
        affinity: set[int] = set()
        for task, children in zip(self._tasks, self._children, strict=True):
            answers = _take_turns(task, children)
            affinity.update(*(values["affinity"] for values, _ in answers))
            for way, models in _timings(task, [arrays for _, arrays in answers]).items():
                if HARNESS in models:
                    harness[way] = models.pop(HARNESS)
                timings[way] = models
        _LOG.info("timed on processors %s, %d thread(s)", sorted(affinity), self._settings.threads)
        return Measurements(timings, harness, sorted(affinity), self._seed)


def _task(
    runtime: str, paths: dict[str, str], settings: LatencySettings, seed: int
) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "engine": settings.engine if runtime == LITERT else "blocks",
        "models": _twice(paths) | paths,
        "threads": settings.threads,
        "warmup": settings.warmup_queries,
        "blocks": settings.blocks,
        "queries": settings.queries_per_block,
        "seed": seed,
    }


def _twice(paths: dict[str, str]) -> dict[str, str]:
    """The teacher and its A/A control, if there is a teacher."""
    return {TEACHER: paths[TEACHER], AGAIN: paths[TEACHER]} if TEACHER in paths else {}


def _take_turns(
    task: dict[str, Any], children: Sequence[Child]
) -> list[tuple[Any, dict[str, NDArray[Any]]]]:
    """The answers of all processes of a runtime, one after the other."""
    models = ", ".join(task["models"])
    _LOG.info("%s: timing %s in %d processes", task["runtime"], models, len(children))
    plans: dict[str, Any] = {}
    answers = []
    for child in children:
        with _explained(task):
            answers.append(child.answer({"plans": plans}))
        plans = answers[0][0]["plans"]
    for size, skipped in answers[0][0]["skipped"].items():
        for role, reason in skipped.items():
            _LOG.info("%s takes no batch of %s and is not timed so: %s", role, size, reason)
    return answers


@contextlib.contextmanager
def _explained(task: dict[str, Any]) -> Iterator[None]:
    """Turns a lost process into one line that names the file, or all that were being timed."""
    try:
        yield
    except ChildError as error:
        subject = error.subject or ", ".join(sorted(set(task["models"].values())))
        raise ModelError(
            f"{subject} cannot be timed on {task['runtime']}: {error.reason}"
        ) from error


def _timings(
    task: dict[str, Any], answers: Sequence[Mapping[str, NDArray[Any]]]
) -> dict[str, dict[str, Timing]]:
    """By way and role, from `[rounds, queries]` nanoseconds of each process.

    A model that takes a batch in one process only is not timed so.
    """
    found: dict[str, dict[str, Timing]] = {}
    for size in task["batch_sizes"]:
        way = f"{task['runtime']}_batch_{size}"
        for role in [*task["models"], HARNESS]:
            key = f"{size}/{role}"
            if not all(key in arrays for arrays in answers):
                continue
            # A query below the clock's resolution took some time all the same: at least 1 ns.
            latencies = np.maximum([arrays[key] for arrays in answers], 1) / 1e6
            timing = Timing(latencies, task["runtime"], task["threads"], size)
            found.setdefault(way, {})[role] = timing
    return found
