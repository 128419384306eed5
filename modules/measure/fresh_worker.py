"""A model's first moments: `python -m modules.measure.fresh_worker DIRECTORY`."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from modules.export import runtimes
from modules.export.runtimes import SAVED_MODEL, Examples
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
        _answer(parent, task, Examples.unpack(arrays).of(task["runtime"]))
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
    runtimes.import_runtime(runtime, threads=1)
    before = _memory_bytes("VmRSS")
    began = time.perf_counter()
    model = runtimes.load(runtime, path, threads=1)
    answers = [model.query(model.prepare(examples[:1]))]
    load_ms = 1e3 * (time.perf_counter() - began)
    # A server puts requests together; LiteRT answers one after the other.
    size = len(examples) if runtime == SAVED_MODEL else 1
    begins = range(1, len(examples), size)
    answers += [model.query(model.prepare(examples[start : start + size])) for start in begins]
    parent.answer(
        {
            "load_ms": load_ms,
            "runtime_memory_bytes": before,
            "peak_memory_bytes": _memory_bytes("VmHWM"),
        },
        {"logits": model.logits(np.concatenate(answers))},
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
