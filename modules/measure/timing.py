"""What the times of a model say: its latency, and how much faster it is than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.measure import repetition
from modules.measure.repetition import Resampling, percentile

_PERCENTS = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99}


@dataclass(frozen=True, eq=False)
class Timing:
    """One model, timed in one way.

    Attributes:
      latencies_ms: `[processes, rounds, queries]` float64, milliseconds per query; round `i` of
          a process is one block of each model.
      runtime: what ran the model.
      threads: threads the runtime was given.
      batch_size: examples in a query.

    Raises:
      ValueError: there is no latency, or one is not a positive number.
    """

    latencies_ms: NDArray[np.float64]
    runtime: str = "litert"
    threads: int = 1
    batch_size: int = 1

    def __post_init__(self) -> None:
        latencies = self.latencies_ms
        if latencies.ndim != 3 or latencies.size == 0:
            raise ValueError(
                f"latencies_ms must have shape [processes, rounds, queries], got {latencies.shape}"
            )
        if not (np.isfinite(latencies).all() and (latencies > 0).all()):
            raise ValueError("latencies_ms must be positive and finite")

    def summary(self, resampling: Resampling, confidence: float) -> dict[str, Any]:
        """Latency over all queries, as the report's `Latency` has it.

        Throughput is of one stream, in examples per second. An interval is where a repeated
        measurement is expected, see `repetition.interval`.
        """
        latencies = self.latencies_ms
        found = {key: percentile(latencies, percent) for key, percent in _PERCENTS.items()}
        resampled = dict(
            zip(_PERCENTS, resampling.percentiles(latencies, [*_PERCENTS.values()]), strict=True)
        )
        found["throughput"] = 1e3 * self.batch_size / float(latencies.mean())
        resampled["throughput"] = 1e3 * self.batch_size / resampling.means(latencies)
        ascending = np.sort(latencies, axis=None)
        ranks = np.minimum(latencies.size * np.arange(101) // 100, latencies.size - 1)
        return found | {
            "runtime": self.runtime,
            "threads": self.threads,
            "batch_size": self.batch_size,
            "queries": latencies.size,
            "distribution_ms": ascending[ranks].tolist(),
            "intervals": {
                key: repetition.interval(value, resampled[key], resampling.processes, confidence)
                for key, value in found.items()
            },
        }


def speedup(
    slower: Timing,
    faster: Timing,
    resampling: Resampling,
    confidence: float,
    harness: Timing | None = None,
) -> dict[str, Any]:
    """How many times faster one model is than another, as the report's `Speedup` has it.

    The ratio `median(slower block) / median(faster block)` is taken per round, since both blocks
    of a round met the same state of the machine. The result is the median ratio over all rounds
    of all processes. Its interval is where a repeated measurement is expected: see
    `repetition.interval`, which is wider than a confidence interval, the careful side for a gate.

    Args:
      slower: the numerator, usually the teacher.
      faster: timed in the same rounds.
      resampling: of these processes and rounds.
      confidence: level of the interval, in (0, 1).
      harness: what the stopwatch itself takes for a query, taken off both medians. LoadGen's is
          0.7 microseconds, a sixth of the smallest models' latency; our own is within a tenth
          of that and counts.

    Raises:
      ValueError: the two were not timed alike.
    """
    first, second = (
        (t.runtime, t.threads, t.batch_size, t.latencies_ms.shape[:2]) for t in (slower, faster)
    )
    if first != second:
        raise ValueError(
            "both models must have the same runtime, threads, batch size and rounds, "
            f"got {first} and {second}"
        )
    overhead = 0.0 if harness is None else np.median(harness.latencies_ms, axis=-1)
    above, below = (np.median(t.latencies_ms, axis=-1) - overhead for t in (slower, faster))
    ratios = above / np.maximum(below, 1e-6)
    middle = float(np.median(ratios))
    resampled = resampling.percentiles(ratios[..., np.newaxis], [50])[0]
    low, high = repetition.interval(middle, resampled, resampling.processes, confidence)
    return {
        "median": middle,
        "ci_low": low,
        "ci_high": high,
        "confidence": confidence,
        "runtime": slower.runtime,
    }
