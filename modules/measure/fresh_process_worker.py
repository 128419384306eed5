"""A model's first moments: `python -m modules.measure.fresh_process_worker DIRECTORY`."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from modules.export import runtimes
from modules.export.runtimes import RUNTIMES, Examples
from modules.measure.child_process import Parent


def main(directory: str) -> None:
    """Loads the file of the task, and answers its examples, within the memory it is allowed."""
    parent = Parent(directory)
    task, arrays = parent.task()
    # What the process allocates is refused beyond the limit. Its address space would be the wrong
    # measure: TensorFlow maps more than twice of what it touches.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = task["memory_limit_mb"]
    resource.setrlimit(resource.RLIMIT_DATA, (limit * 2**20, hard))
    try:
        _answer(parent, task, runtimes.taken_by(task["runtime"], Examples.unpack(arrays)))
    # Whatever a runtime raises, its file is the one that does not answer.
    except Exception as error:  # noqa: BLE001
        parent.fail(_words(error, limit))


def _words(error: Exception, limit: int) -> str:
    """What went wrong; where memory is short, TensorFlow says much and LiteRT nothing."""
    text, kind = str(error), type(error).__name__
    if not text or kind in ("MemoryError", "ResourceExhaustedError"):
        return f"{kind}, {limit} MiB of memory are allowed"
    return text


def _answer(parent: Parent, task: dict[str, Any], examples: Any) -> None:
    runtime, path = task["runtime"], task["path"]
    RUNTIMES[runtime].prepare_process(threads=1)
    before = _memory_bytes("VmRSS")
    began = time.perf_counter()
    model = runtimes.load(runtime, path)
    logits = [model.answer(runtimes.select(examples, [0]))]
    load_ms = 1e3 * (time.perf_counter() - began)
    if others := range(1, runtimes.count_examples(examples)):
        logits.append(model.answer(runtimes.select(examples, others)))
    parent.answer(
        {
            "load_ms": load_ms,
            "runtime_memory_bytes": before,
            "peak_memory_bytes": _memory_bytes("VmHWM"),
        },
        {"logits": np.concatenate(logits)},
    )


def _memory_bytes(key: str) -> int:
    """Resident memory, now (`VmRSS`) or at its peak (`VmHWM`).

    Where there is no /proc, the peak stands for both. On Linux it would not do: it is inherited
    from whoever started this process.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(sys.argv[1])
