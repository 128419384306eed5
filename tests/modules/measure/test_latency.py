"""Tests of modules.measure.latency and its worker; none looks at real elapsed time."""

from __future__ import annotations

import gc
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from runtime_models import (
    PIXELS,
    TENSORS,
    serialized,
    slow_sums,
    stubborn_sums,
    sums,
    write_saved_model,
    write_tflite,
)

from modules.errors import ModelError
from modules.export.runtimes import LITERT, SAVED_MODEL, Examples, ModelFile
from modules.judge.schema import Latency, Speedup
from modules.measure import latency, latency_worker
from modules.measure.latency import AGAIN, Measurements, TimingProcesses
from modules.measure.latency_worker import make_plan, time_block
from modules.settings import LatencySettings

SETTINGS = LatencySettings(
    processes=3, blocks=3, queries_per_block=10, warmup_queries=2, batch_size=4
)


def _measure(models: list[ModelFile], examples: Examples, settings: LatencySettings, seed: int):
    with TimingProcesses(models, examples, settings, seed) as processes:
        return processes.measure()


# -- one block --


class _FakeClock:
    """Stands for time.perf_counter_ns; queries move it by their own latency."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def query(self, batch: int) -> None:
        self.now += batch


def test_a_block_times_each_query_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _FakeClock()
    monkeypatch.setattr(latency_worker.time, "perf_counter_ns", clock)
    # Each batch takes as many nanoseconds as its name says; the untimed query takes the last.
    timed = time_block(clock.query, [10, 20, 30_000], queries=5)
    assert timed.tolist() == [10, 20, 30_000, 10, 20]
    assert clock.now == timed.sum() + 30_000


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collector_rests_and_is_left_as_found(enabled: bool) -> None:
    seen: list[bool] = []

    def fails_late(batch: int) -> None:
        seen.append(gc.isenabled())
        if len(seen) == 4:
            raise RuntimeError("out of memory")

    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(RuntimeError, match="out of memory"):
            time_block(fails_late, [0], queries=10)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
    assert seen == [False] * 4


@pytest.mark.parametrize(
    ("seconds", "rounds", "queries"),
    [
        ({"fast": 1e-5, "instant": 0.0}, 10, {"fast": 50, "instant": 50}),
        ({"fast": 1e-5, "middle": 2e-3}, 10, {"fast": 50, "middle": 12}),  # 25 ms / 2 ms
        ({"fast": 1e-5, "slow": 0.05}, 5, {"fast": 50, "slow": 1}),  # twice a block: half of them
        ({"fast": 1e-5, "glacial": 60.0}, 2, {"fast": 50, "glacial": 1}),
    ],
)
def test_plan_keeps_to_the_time(seconds: dict, rounds: int, queries: dict) -> None:
    plan = make_plan(seconds, rounds=10, queries=50)
    assert (plan.rounds, plan.queries) == (rounds, queries)


# -- real files in real processes --


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("files")
    return SimpleNamespace(
        sums=write_tflite(folder / "sums.tflite", sums),
        slow=write_tflite(folder / "slow.tflite", slow_sums),
        stubborn=write_tflite(folder / "stubborn.tflite", stubborn_sums),
        saved=write_saved_model(folder / "saved", sums),
        slow_saved=write_saved_model(folder / "slow_saved", slow_sums),
        serialized=serialized(),
    )


@pytest.fixture(scope="module")
def measured(files: SimpleNamespace) -> Measurements:
    models = [
        ModelFile("student", LITERT, files.sums),
        ModelFile("stubborn", LITERT, files.stubborn),
        ModelFile("teacher", LITERT, files.slow),
    ]
    return _measure(models, Examples(TENSORS), SETTINGS, seed=0)


def test_every_model_is_timed_in_every_process_and_round(measured: Measurements) -> None:
    single, batch = measured.timings["litert_batch_1"], measured.timings["litert_batch_4"]
    assert set(single) == {"teacher", AGAIN, "student", "stubborn"}
    assert {timing.latencies_ms.shape[:2] for timing in single.values()} == {(3, 3)}
    assert {timing.latencies_ms.shape[-1] for timing in single.values()} == {10}
    assert {timing.batch_size for timing in batch.values()} == {4}
    assert measured.affinity and not measured.harness


def test_a_file_that_takes_no_batch_is_not_timed_so(measured: Measurements) -> None:
    assert set(measured.timings["litert_batch_4"]) == {"teacher", AGAIN, "student"}
    assert set(measured.summaries(0.9)["stubborn"]) == {"litert_batch_1"}


def test_what_is_measured_fits_the_report(measured: Measurements) -> None:
    summaries = measured.summaries(0.9)
    assert set(summaries) == {"teacher", "student", "stubborn"}
    parts = {
        (role, way): Latency.model_validate(part)
        for role, ways in summaries.items()
        for way, part in ways.items()
    }
    assert parts["student", "litert_batch_4"].batch_size == 4
    assert parts["student", "litert_batch_1"].queries == 90
    speedups, controls = measured.speedups(0.9), measured.aa_control(0.9)
    assert set(speedups["litert_batch_1"]) == {"student", "stubborn"}
    for part in [*speedups["litert_batch_1"].values(), *controls.values()]:
        assert Speedup.model_validate(part).ci_low <= part["median"] <= part["ci_high"]
    assert set(controls) == {"litert_batch_1", "litert_batch_4"}


def test_the_same_file_is_told_from_a_slower_one(measured: Measurements) -> None:
    # 16 products with a 256x256 matrix against none: no noise makes up for that.
    assert measured.speedups(0.9)["litert_batch_1"]["student"]["median"] > 3
    assert 1 / 3 < measured.aa_control(0.9)["litert_batch_1"]["median"] < 3


@pytest.mark.thorough
def test_saved_models_are_timed_without_keras(files: SimpleNamespace) -> None:
    models = [
        ModelFile("teacher", SAVED_MODEL, files.slow_saved),
        ModelFile("student", SAVED_MODEL, files.saved),
    ]
    examples = Examples(TENSORS, files.serialized)
    measured = _measure(models, examples, SETTINGS, seed=0)
    assert set(measured.timings) == {"saved_model_batch_1", "saved_model_batch_4"}
    for models in measured.timings.values():
        assert set(models) == {"teacher", AGAIN, "student"}
        assert {timing.runtime for timing in models.values()} == {SAVED_MODEL}


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (
            {"image": PIXELS.astype(np.float32)},
            r"it takes image as uint8 \(2, 2, 1\), but an example is float32",
        ),
        (
            {"image": PIXELS.reshape(3, 4, 1, 1)},
            r"it takes image as uint8 .* an example is uint8 \(4, 1, 1\)",
        ),
        ({"pixels": PIXELS}, "its inputs are image, but the examples have pixels"),
    ],
)
def test_examples_that_do_not_fit(files: SimpleNamespace, examples, message: str) -> None:
    models = [ModelFile("teacher", LITERT, files.sums)]
    with pytest.raises(ModelError, match=rf"sums\.tflite cannot be timed on litert: {message}"):
        _measure(models, Examples(examples), SETTINGS, seed=0)


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_file_that_is_no_model(
    files: SimpleNamespace, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "student.tflite"
    if content is not None:
        path.write_bytes(content)
    models = [ModelFile("teacher", LITERT, files.sums), ModelFile("student", LITERT, str(path))]
    with pytest.raises(ModelError, match=r"student\.tflite cannot be timed on litert: "):
        _measure(models, Examples(TENSORS), SETTINGS, seed=0)


def test_a_killed_process_is_one_line(
    files: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
import os, sys
from modules.measure.child_process import Parent
parent = Parent(sys.argv[1])
parent.wait_for_turn()
os.kill(os.getpid(), 9)
"""
    (tmp_path / "dies_while_timing.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(latency, "latency_worker", ModuleType("dies_while_timing"))
    models = [ModelFile("teacher", LITERT, files.sums), ModelFile("student", LITERT, files.slow)]
    with pytest.raises(ModelError, match=r"slow\.tflite, .*sums\.tflite cannot be .*: killed by"):
        _measure(models, Examples(TENSORS), SETTINGS, seed=0)


def test_processes_start_together_and_measure_one_at_a_time(
    tmp_path: Path, files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"""
import os, sys, time
from modules.measure.child_process import Parent
parent = Parent(sys.argv[1])
task, _ = parent.task()
def say(word):
    with open({str(tmp_path / "log")!r}, "a") as log:
        log.write(word + "\\n")
say("ready")
parent.wait_for_turn()
say("begin")
time.sleep(0.2)
say("end")
values = {{f"{{size}}/{{name}}": [[1]] for size in task["batch_sizes"] for name in task["models"]}}
parent.answer({{"plans": {{}}, "skipped": {{}}, "affinity": []}}, values)
"""
    (tmp_path / "logs_its_turn.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(latency, "latency_worker", ModuleType("logs_its_turn"))
    settings = SETTINGS.model_copy(update={"processes": 3})
    _measure([ModelFile("teacher", LITERT, files.sums)], Examples(TENSORS), settings, seed=0)
    words = (tmp_path / "log").read_text().split()
    assert words == ["ready"] * 3 + ["begin", "end"] * 3


def test_without_a_teacher_nothing_is_compared(files: SimpleNamespace) -> None:
    found = _measure([ModelFile("student", LITERT, files.sums)], Examples(TENSORS), SETTINGS, 0)
    assert set(found.timings["litert_batch_1"]) == {"student"}
    assert (found.speedups(0.95), found.aa_control(0.95)) == ({}, {})
    assert found.summaries(0.95)["student"]["litert_batch_1"]["p50_ms"] > 0


def test_without_throughput_single_examples_alone_are_timed(files: SimpleNamespace) -> None:
    models = [ModelFile("student", LITERT, files.sums)]
    with TimingProcesses(
        models, Examples(TENSORS), SETTINGS, seed=0, throughput=False
    ) as processes:
        assert set(processes.measure().timings) == {"litert_batch_1"}
