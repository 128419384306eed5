"""Tests of modules.latency on recorded or faked times; none looks at real elapsed time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from modules import latency
from modules.errors import ModelError
from modules.latency import Timing
from modules.settings import LatencySettings

SETTINGS = LatencySettings(blocks=6, queries_per_block=10, warmup_queries=3, threads=2)


def _timing(
    rows: list[list[float]] | np.ndarray, threads: int = 1, runtime: str = "litert"
) -> Timing:
    return Timing(np.array(rows, dtype=np.float64), threads=threads, runtime=runtime)


# -- percentiles and summary --


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [
        (100, 50, 51),  # floor(100 * 0.50) = 50 counted from zero: the 51st of 1, 2, 3 ...
        (100, 90, 91),
        (100, 99, 100),
        (10, 99, 10),  # floor(9.9) = 9: the largest
        (10, 90, 10),
        (11, 50, 6),  # floor(5.5) = 5: the middle one of eleven
        (1, 99, 1),
        (1000, 0, 1),
    ],
)
def test_percentile_by_hand(count: int, percent: int, expected: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert latency.percentile(values, percent) == expected


def test_percentile_has_no_rounding_of_its_own() -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point, which would give rank 28.
    assert latency.percentile(np.arange(100.0), 29) == 29.0


def test_percentile_agrees_with_sorting_and_is_a_measured_value() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=357)
    for percent in range(100):
        value = latency.percentile(values, percent)
        assert value == sorted(values.tolist())[(357 * percent) // 100]


@pytest.mark.parametrize("percent", [-1, 100])
def test_percentile_refuses_what_is_none(percent: int) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 100\), got"):
        latency.percentile(np.ones(3), percent)


def test_summary_by_hand() -> None:
    # 1 to 10 ms in two blocks: 55 ms for 10 queries.
    summary = _timing([[10, 9, 8, 7, 6], [1, 2, 3, 4, 5]], threads=4, runtime="other").summary()
    assert summary == {
        "p50_ms": 6.0,
        "p90_ms": 10.0,
        "p99_ms": 10.0,
        "throughput": pytest.approx(10 / 0.055),
        "runtime": "other",
        "threads": 4,
    }
    assert all(type(value) in (float, int, str) for value in summary.values())


@pytest.mark.parametrize("rows", [[1.0, 2.0], [[]], [[1.0, 0.0]], [[1.0, float("nan")]]])
def test_timing_refuses_what_is_no_measurement(rows: list) -> None:
    with pytest.raises(ValueError, match="block_latencies_ms"):
        _timing(rows)


# -- measure --


def _recording_runners(names: str) -> tuple[list[str], dict[str, Callable[[], object]]]:
    """Runners that note their name; the interleaving can be read off the calls."""
    calls: list[str] = []
    return calls, {name: partial(calls.append, name) for name in names}


def _rounds(calls: list[str], models: int, settings: LatencySettings) -> list[list[str]]:
    """The calls after the warm-up, as one list of block owners per round."""
    block = settings.queries_per_block + 1
    calls = calls[models * settings.warmup_queries :]
    assert len(calls) == models * settings.blocks * block
    owners = []
    for start in range(0, len(calls), block):
        assert len(set(calls[start : start + block])) == 1  # nobody interrupts a block
        owners.append(calls[start])
    return [owners[at : at + models] for at in range(0, len(owners), models)]


def test_every_model_has_one_block_in_every_round() -> None:
    calls, runners = _recording_runners("abc")
    timings = latency.measure(runners, SETTINGS, seed=0)
    assert calls[:9] == list("aaabbbccc")  # warm-up, before anything is timed
    rounds = _rounds(calls, 3, SETTINGS)
    assert len(rounds) == SETTINGS.blocks
    assert all(sorted(owners) == ["a", "b", "c"] for owners in rounds)
    assert list(timings) == ["a", "b", "c"]
    for timing in timings.values():
        assert timing.block_latencies_ms.shape == (6, 10)
        assert (timing.block_latencies_ms > 0).all()
        assert (timing.threads, timing.runtime) == (2, "litert")


def test_order_changes_between_rounds_and_repeats_with_the_seed() -> None:
    settings = SETTINGS.model_copy(update={"blocks": 20})

    def order(seed: int) -> list[list[str]]:
        calls, runners = _recording_runners("abc")
        latency.measure(runners, settings, seed=seed)
        return _rounds(calls, 3, settings)

    first = order(seed=1)
    assert first == order(seed=1)
    assert first != order(seed=2)
    assert {owners[0] for owners in first} == {"a", "b", "c"}


class _FakeClock:
    """Stands for time.perf_counter_ns; runners move it by their own latency."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def runner(self, *nanoseconds: int) -> Callable[[], object]:
        calls = 0

        def run() -> None:
            nonlocal calls
            self.now += nanoseconds[calls % len(nanoseconds)]
            calls += 1

        return run


def test_latencies_are_those_of_the_timed_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _FakeClock()
    monkeypatch.setattr(latency.time, "perf_counter_ns", clock)
    # 3 warm-up queries, then blocks of 1 untimed and 10 timed: with a period of 11 the untimed
    # query is always the fourth, and the 9 ms it takes must not show up.
    cycle = [1_000_000] * 11
    cycle[3] = 9_000_000
    cycle[4] = 2_500_000
    runners = {"slow": clock.runner(4_000_000), "odd": clock.runner(*cycle)}
    timings = latency.measure(runners, SETTINGS, seed=0)
    np.testing.assert_array_equal(timings["slow"].block_latencies_ms, np.full((6, 10), 4.0))
    np.testing.assert_array_equal(
        timings["odd"].block_latencies_ms, np.tile([2.5] + [1.0] * 9, (6, 1))
    )


def test_a_query_shorter_than_the_clock_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _FakeClock()
    monkeypatch.setattr(latency.time, "perf_counter_ns", clock)
    timing = latency.measure({"instant": clock.runner(0)}, SETTINGS, seed=0)["instant"]
    np.testing.assert_array_equal(timing.block_latencies_ms, np.full((6, 10), 1e-6))


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collector_rests_while_timing_and_is_left_as_found(enabled: bool) -> None:
    seen: list[bool] = []
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        latency.measure({"a": lambda: seen.append(gc.isenabled())}, SETTINGS, seed=0)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
    assert not any(seen[SETTINGS.warmup_queries :])


def test_garbage_collector_returns_after_a_failing_query() -> None:
    calls = 0

    def fails_late() -> None:
        nonlocal calls
        calls += 1
        if calls > SETTINGS.warmup_queries + 4:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        latency.measure({"a": fails_late}, SETTINGS, seed=0)
    assert gc.isenabled()


def test_measure_refuses_no_models() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        latency.measure({}, SETTINGS, seed=0)


# -- speed-up --


def test_speedup_is_exact_when_every_round_agrees() -> None:
    # The machine slows down tenfold over the rounds; round by round the student is twice as fast.
    student = np.linspace(1.0, 10.0, 8)[:, np.newaxis] * np.ones((8, 10))
    result = latency.speedup(_timing(2 * student), _timing(student), confidence=0.95, seed=0)
    assert result == {
        "median": 2.0,
        "ci_low": 2.0,
        "ci_high": 2.0,
        "confidence": 0.95,
        "runtime": "litert",
    }


def test_speedup_takes_the_median_of_a_block() -> None:
    # One query of each block is a thousand times slower; medians do not see it.
    teacher = np.full((6, 11), 6.0)
    teacher[:, 4] = 6000.0
    result = latency.speedup(_timing(teacher), _timing(np.full((6, 11), 2.0)), 0.95, seed=0)
    assert (result["median"], result["ci_low"], result["ci_high"]) == (3.0, 3.0, 3.0)


def _noisy(rounds: int, noise: float, seed: int) -> tuple[Timing, Timing]:
    """A teacher 3 times slower than its student, both with log-normal noise."""
    rng = np.random.default_rng(seed)
    teacher = 3.0 * rng.lognormal(sigma=noise, size=(rounds, 1)) * np.ones((1, 10))
    return _timing(teacher), _timing(np.ones((rounds, 10)))


def test_speedup_brackets_its_median_and_the_truth() -> None:
    result = latency.speedup(*_noisy(rounds=40, noise=0.1, seed=2), confidence=0.95, seed=0)
    assert result["ci_low"] < result["median"] < result["ci_high"]
    assert result["ci_low"] < 3.0 < result["ci_high"]


def test_speedup_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        result = latency.speedup(*_noisy(rounds=25, noise=0.2, seed=seed), confidence=0.8, seed=0)
        covered += result["ci_low"] <= 3.0 <= result["ci_high"]
    assert 38 <= covered <= 58  # 48 expected; three standard deviations are 9.3


def test_speedup_interval_agrees_with_a_bootstrap_by_hand() -> None:
    teacher, student = _noisy(rounds=15, noise=0.3, seed=5)
    ratios = teacher.block_latencies_ms[:, 0] / student.block_latencies_ms[:, 0]
    rng = np.random.default_rng(99)
    medians = np.median(rng.choice(ratios, size=(20_000, 15)), axis=1)
    low, high = np.quantile(medians, [0.05, 0.95])
    result = latency.speedup(teacher, student, confidence=0.9, seed=0)
    # Medians of 15 values fall on the 15 values themselves, so both find the same two.
    assert result["ci_low"] == pytest.approx(low)
    assert result["ci_high"] == pytest.approx(high)


def test_speedup_repeats_with_the_seed() -> None:
    # Enough rounds that two resamplings hardly ever find the same bounds.
    timings = _noisy(rounds=400, noise=0.3, seed=7)
    results = [latency.speedup(*timings, confidence=0.95, seed=seed) for seed in (3, 3, 4, 5, 6)]
    assert results[0] == results[1]
    assert any(result != results[0] for result in results[2:])


def test_speedup_is_wider_at_higher_confidence() -> None:
    teacher, student = _noisy(rounds=20, noise=0.3, seed=7)
    narrow = latency.speedup(teacher, student, confidence=0.5, seed=3)
    wide = latency.speedup(teacher, student, confidence=0.99, seed=3)
    assert wide["ci_low"] < narrow["ci_low"] <= narrow["ci_high"] < wide["ci_high"]


def test_speedup_follows_from_what_measure_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _FakeClock()
    monkeypatch.setattr(latency.time, "perf_counter_ns", clock)
    runners = {"teacher": clock.runner(5_000_000), "student": clock.runner(2_000_000)}
    timings = latency.measure(runners, SETTINGS, seed=0)
    result = latency.speedup(timings["teacher"], timings["student"], 0.95, seed=0)
    assert (result["median"], result["ci_low"], result["ci_high"]) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        (
            _timing(np.ones((5, 2))),
            _timing(np.ones((5, 2)), threads=2),
            "'threads': 1.* and .*'threads': 2",
        ),
        (
            _timing(np.ones((5, 2))),
            _timing(np.ones((5, 2)), runtime="x"),
            "timed alike.*'runtime': 'x'",
        ),
        (_timing(np.ones((5, 2))), _timing(np.ones((6, 2))), "'rounds': 5.* and .*'rounds': 6"),
        (_timing(np.ones((1, 2))), _timing(np.ones((1, 2))), "at least two rounds"),
    ],
)
def test_speedup_refuses_to_compare_unlike(teacher: Timing, student: Timing, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latency.speedup(teacher, student, 0.95, seed=0)


# -- LiteRT --


@pytest.fixture(scope="module")
def summing_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TFLite file: uint8 `[1, 2, 2, 1]` in, its sum and minus its sum `[1, 2]` out."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 2, 2, 1), tf.uint8)])
    def logits(pixels: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(tf.cast(pixels, tf.float32), axis=[1, 2])
        return tf.concat([total, -total], axis=1)

    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [logits.get_concrete_function()], module
    )
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    path.write_bytes(converter.convert())
    return path


PIXELS = np.array([[1, 2, 3, 4], [10, 20, 30, 40], [0, 0, 0, 255]], np.uint8).reshape(3, 2, 2, 1)


def test_litert_runner_goes_round_the_examples(summing_tflite: Path) -> None:
    run = latency.litert_runner(summing_tflite, threads=1, examples=PIXELS)
    outputs = [np.asarray(run()) for _ in range(5)]
    assert [output.tolist() for output in outputs] == [
        [[10.0, -10.0]],
        [[100.0, -100.0]],
        [[255.0, -255.0]],
        [[10.0, -10.0]],
        [[100.0, -100.0]],
    ]


def test_litert_runner_can_be_measured(summing_tflite: Path) -> None:
    runners = {
        name: latency.litert_runner(summing_tflite, threads=2, examples=PIXELS)
        for name in ("teacher", "student")
    }
    timings = latency.measure(runners, SETTINGS, seed=0)
    assert timings["student"].summary()["threads"] == 2
    assert latency.speedup(timings["teacher"], timings["student"], 0.95, seed=0)["median"] > 0


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (PIXELS.astype(np.float32), r"takes uint8 \(1, 2, 2, 1\), but one example is float32"),
        (PIXELS.reshape(3, 4, 1, 1), r"one example is uint8 \(1, 4, 1, 1\)"),
        (PIXELS[:0], "pass at least one"),
    ],
)
def test_litert_runner_refuses_unfit_examples(
    summing_tflite: Path, examples: np.ndarray, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        latency.litert_runner(summing_tflite, threads=1, examples=examples)


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_litert_runner_names_a_file_it_cannot_load(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"LiteRT cannot load .*model\.tflite"):
        latency.litert_runner(path, threads=1, examples=PIXELS)
