"""Tests of modules.measure.timing on recorded times."""

from __future__ import annotations

import numpy as np
import pytest

from modules.measure.repetition import Resampling, percentile
from modules.measure.timing import Timing, speedup


def _timing(values: list | np.ndarray, **how: object) -> Timing:
    return Timing(np.array(values, dtype=np.float64), **how)


def _resampling(timing: Timing, seed: int = 0) -> Resampling:
    return Resampling.draw(*timing.latencies_ms.shape[:2], seed)


# -- summary --


def test_summary_by_hand() -> None:
    # 1 to 30 ms over 3 processes of 2 rounds: 465 ms for 30 queries of 4 examples.
    values = np.arange(30, 0, -1).reshape(3, 2, 5)
    timing = _timing(values, runtime="other", threads=3, batch_size=4)
    summary = timing.summary(_resampling(timing), confidence=0.9)
    intervals, distribution = summary.pop("intervals"), summary.pop("distribution_ms")
    assert summary == {
        "p50_ms": 16.0,
        "p90_ms": 28.0,
        "p99_ms": 30.0,
        "throughput": pytest.approx(30 * 4 / 0.465),
        "runtime": "other",
        "threads": 3,
        "batch_size": 4,
        "queries": 30,
    }
    assert len(distribution) == 101
    assert distribution[:100] == [percentile(timing.latencies_ms, each) for each in range(100)]
    assert distribution[100] == 30.0
    assert set(intervals) == {"p50_ms", "p90_ms", "p99_ms", "throughput"}
    for key, (low, high) in intervals.items():
        assert low < summary[key] < high


def test_an_unlucky_process_widens_the_intervals() -> None:
    rng = np.random.default_rng(0)
    alike = rng.normal(10, 0.1, (5, 10, 20))
    differing = alike * np.array([1, 1.1, 0.9, 1.05, 1])[:, np.newaxis, np.newaxis]
    widths = []
    for values in (alike, differing):
        timing = _timing(values)
        low, high = timing.summary(_resampling(timing), 0.95)["intervals"]["p50_ms"]
        widths.append(high / low)
    assert widths[1] > 1.2 > 1.02 > widths[0]


@pytest.mark.parametrize("values", [[[1.0]], [[[]]], [[[1.0, 0.0]]], [[[1.0, float("nan")]]]])
def test_timing_refuses_what_is_no_measurement(values: list) -> None:
    with pytest.raises(ValueError, match="latencies_ms"):
        _timing(values)


# -- speed-up --


def test_speedup_is_exact_when_every_round_agrees() -> None:
    # The machine slows down tenfold over the rounds; round by round the student is twice as fast.
    student = np.linspace(1.0, 10.0, 12).reshape(3, 4, 1) * np.ones((3, 4, 10))
    teacher = _timing(2 * student)
    result = speedup(teacher, _timing(student), _resampling(teacher), confidence=0.95)
    assert result == {
        "median": 2.0,
        "ci_low": 2.0,
        "ci_high": 2.0,
        "confidence": 0.95,
        "runtime": "litert",
    }


def test_speedup_takes_the_median_of_a_block() -> None:
    # One query of each block is a thousand times slower; medians do not see it.
    teacher = np.full((3, 3, 11), 6.0)
    teacher[..., 4] = 6000.0
    slower, faster = _timing(teacher), _timing(np.full((3, 3, 7), 2.0))
    result = speedup(slower, faster, _resampling(slower), 0.95)
    assert (result["median"], result["ci_low"], result["ci_high"]) == (3.0, 3.0, 3.0)


def test_speedup_without_what_the_stopwatch_takes() -> None:
    slower, faster = _timing(np.full((3, 3, 5), 6.5)), _timing(np.full((3, 3, 5), 2.5))
    harness = _timing(np.full((3, 3, 9), 0.5))
    assert speedup(slower, faster, _resampling(slower), 0.95, harness)["median"] == 3.0


def test_speedup_interval_follows_the_processes() -> None:
    rng = np.random.default_rng(4)
    student = _timing(np.ones((5, 10, 3)))
    luck = 1 + np.array([0, 0.02, -0.02, 0.04, -0.04])[:, np.newaxis, np.newaxis]
    rounds = np.repeat(rng.normal(3, 0.003, (5, 10, 1)), 3, axis=-1)
    widths = []
    for values in (rounds, luck * rounds):
        teacher = _timing(values)
        result = speedup(teacher, student, _resampling(teacher), 0.95)
        assert result["ci_low"] < result["median"] < result["ci_high"]
        widths.append(result["ci_high"] / result["ci_low"])
    assert widths[1] > 1.1 > 1.01 > widths[0]


@pytest.mark.parametrize(
    "other",
    [
        _timing(np.ones((3, 5, 2)), threads=2),
        _timing(np.ones((3, 5, 2)), runtime="x"),
        _timing(np.ones((3, 5, 2)), batch_size=8),
        _timing(np.ones((3, 6, 2))),
        _timing(np.ones((4, 5, 2))),
    ],
)
def test_speedup_refuses_to_compare_unlike(other: Timing) -> None:
    teacher = _timing(np.ones((3, 5, 2)))
    with pytest.raises(ValueError, match="same runtime, threads, batch size and rounds"):
        speedup(teacher, other, _resampling(teacher), 0.95)
