"""Does a file answer as it was judged, in a process that knows nothing but its runtime?

The local stand-in for TFX's InfraValidator, which needs Docker or Kubernetes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.export.runtimes import LITERT, SAVED_MODEL, Examples, Subject
from modules.measure.child_process import Child, ChildError
from modules.settings import EvaluateSettings

# Largest difference from the logits that were judged, in units of the largest of them. TensorFlow
# sums in another order when a batch has another size; LiteRT answers one example as ever.
_TOLERANCE = {LITERT: 1e-5, SAVED_MODEL: 1e-4}
# Most of a probe is the import of its runtime, which is not measured.
_AT_ONCE = 2


def probe(
    subject: Subject,
    examples: Examples,
    expected_logits: NDArray[Any],
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """Loads a file in a fresh process and asks it the canary examples.

    The process may allocate `settings.memory_limit_mb` (and must not become larger than that) and
    may take `settings.time_limit_s` in all. A file that does not answer, or answers otherwise, is a
    finding and no exception.

    Args:
        subject: the file, and what runs it.
        examples: the canaries, k of them.
        expected_logits: `[k, classes]`, what the file answered when it was judged.
        settings: the limits.

    Returns:
        What `report_schema.FreshProcess` holds.
    """
    limit = settings.memory_limit_mb
    task = {"runtime": subject.runtime, "path": subject.path, "memory_limit_mb": limit}
    found: dict[str, Any] = {
        "runtime": subject.runtime,
        "load_ms": None,
        "peak_memory_bytes": None,
        "runtime_memory_bytes": None,
        "canaries": len(expected_logits),
        "max_difference": None,
    }
    child = Child("modules.measure.fresh_worker", task, examples.pack(), settings.time_limit_s)
    try:
        with child:
            measured, arrays = child.answer()
    except ChildError as error:
        return found | {"passed": False, "problem": error.reason}
    found |= measured
    logits = arrays["logits"]
    problem = _difference(logits, expected_logits, _TOLERANCE[subject.runtime])
    peak_mb = measured["peak_memory_bytes"] / 2**20
    if peak_mb > limit:
        problem = f"needed {peak_mb:.0f} MiB of memory, {limit} MiB are allowed"
    if logits.shape == expected_logits.shape:
        found["max_difference"] = float(np.abs(logits - expected_logits).max())
    return found | {"passed": problem is None, "problem": problem}


def probe_all(
    subjects: Sequence[tuple[Subject, NDArray[Any]]],
    examples: Examples,
    settings: EvaluateSettings,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Probes several files, two at a time, each with the logits expected of it.

    A load time is measured once and beside another process, so it is right to tell ten
    milliseconds from a second, and no more.

    Returns:
        By role and runtime, what `probe` returns.
    """
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [
            (subject, pool.submit(probe, subject, examples, expected, settings))
            for subject, expected in subjects
        ]
        for subject, future in futures:
            found[subject.role][subject.runtime] = future.result()
    return dict(found)


def _difference(logits: NDArray[Any], expected: NDArray[Any], tolerance: float) -> str | None:
    """One line on how the answers differ, None if they do not."""
    if logits.shape != expected.shape:
        return f"answers have shape {logits.shape}, not {expected.shape}"
    if not np.isfinite(logits).all():
        return "answers are not finite"
    other = int((logits.argmax(-1) != expected.argmax(-1)).sum())
    if other:
        return f"chooses another class on {other} of {len(logits)} examples"
    difference = float(np.abs(logits - expected).max() / max(np.abs(expected).max(), 1e-30))
    if difference > tolerance:
        return (
            f"answers differ by {difference:.1e} of the largest logit, {tolerance:.0e} is allowed"
        )
    return None
