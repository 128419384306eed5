"""Does a file answer as it was judged, in a process that knows nothing but its runtime?

The local stand-in for TFX's InfraValidator, which needs Docker or Kubernetes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.export.runtimes import RUNTIMES, Examples, ModelFile
from modules.measure import fresh_process_worker
from modules.measure.child_process import Child, ChildError
from modules.settings import EvaluateSettings

# Most of the time goes into the import of a runtime, which is not measured.
_AT_ONCE = 2

# What a file answered, with the measurements beside it, or one line on why it did not.
_Answer = tuple[dict[str, Any], NDArray[Any] | None]


class FreshProcesses:
    """Files that are asked the canary examples, each in a process of its own.

    As a context they begin at once, two at a time and beside whatever else goes on: a load time
    is measured once, and is right to tell ten milliseconds from a second, and no more. None is
    left when the context ends.

    A process may allocate `settings.memory_limit_mb` (and must not become larger than that) and
    may take `settings.time_limit_s` in all.

    Args:
      files: What is asked.
      examples: The canaries.
      settings: The limits.
    """

    def __init__(self, files: Sequence[ModelFile], examples: Examples, settings: EvaluateSettings):
        self._files, self._examples, self._settings = files, examples, settings
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._answers: dict[ModelFile, Future[_Answer]] = {}
        self._children: list[Child] = []

    def __enter__(self) -> FreshProcesses:
        for file in self._files:
            self._answers[file] = self._pool.submit(self._ask, file)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        # Nobody wants to know any more, least of all who has pressed Ctrl-C.
        for child in self._children:
            child.kill()
        self._pool.shutdown()

    def compare(
        self, expected: Mapping[ModelFile, NDArray[Any]]
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """Waits for all processes, and holds their answers against those that were judged.

        A file that does not answer, or answers otherwise, is a finding and no exception.

        Args:
          expected: Logits `[k, outputs]` of each file.

        Returns:
          By role and runtime, what `modules.judge.schema.FreshProcess` holds.
        """
        found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for file, answer in self._answers.items():
            found[file.role][file.runtime] = _finding(
                file.runtime, answer.result(), expected[file], self._settings.memory_limit_mb
            )
        return dict(found)

    def _ask(self, file: ModelFile) -> _Answer:
        task = {
            "runtime": file.runtime,
            "path": file.path,
            "memory_limit_mb": self._settings.memory_limit_mb,
        }
        arrays = self._examples.pack()
        try:
            with Child(fresh_process_worker, task, arrays, self._settings.time_limit_s) as child:
                self._children.append(child)
                measured, arrays = child.answer()
        except ChildError as error:
            return {"problem": error.reason}, None
        return measured, arrays["logits"]


def _finding(
    runtime: str, answer: _Answer, expected: NDArray[Any], memory_limit_mb: int
) -> dict[str, Any]:
    measured, logits = answer
    found: dict[str, Any] = {
        "runtime": runtime,
        "load_ms": None,
        "peak_memory_bytes": None,
        "runtime_memory_bytes": None,
        "canaries": len(expected),
        "max_difference": None,
        "problem": None,
    } | measured
    if logits is not None:
        found["problem"] = _difference(logits, expected, RUNTIMES[runtime].tolerance)
        peak_mb = found["peak_memory_bytes"] / 2**20
        if peak_mb > memory_limit_mb:
            found["problem"] = (
                f"needed {peak_mb:.0f} MiB of memory, {memory_limit_mb} MiB are allowed"
            )
        if logits.shape == expected.shape:
            found["max_difference"] = float(np.abs(logits - expected).max())
    return found | {"passed": found["problem"] is None}


def _difference(logits: NDArray[Any], expected: NDArray[Any], tolerance: float) -> str | None:
    """One line on how the answers differ, None if they do not."""
    if logits.shape != expected.shape:
        return f"answers have shape {logits.shape}, not {expected.shape}"
    if not np.isfinite(logits).all():
        return "answers are not finite"
    difference = float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-30))
    if difference > tolerance:
        return (
            f"answers differ by {difference:.1e} of the largest answer, {tolerance:.0e} is allowed"
        )
    return None
