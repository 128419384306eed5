"""Tests of modules.measure.loadgen with MLPerf LoadGen itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runtime_models import TENSORS, sums, write_tflite

from modules.errors import ConfigError
from modules.export.runtimes import LITERT, Examples, ModelFile
from modules.measure import loadgen
from modules.measure.latency import TimingProcesses
from modules.measure.repetition import percentile
from modules.settings import LatencySettings

SETTINGS = LatencySettings(
    engine="loadgen", processes=3, blocks=6, queries_per_block=50, batch_size=4
)


def test_a_missing_package_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "MODULE", "mlperf_loadgen_that_nobody_has")
    with pytest.raises(ConfigError, match=r"pip install mlcommons-loadgen, or set latency\.engine"):
        TimingProcesses([], Examples(TENSORS), SETTINGS, seed=0, log_dir="logs")


def _summary(log_dir: Path) -> str:
    return (log_dir / "mlperf_log_summary.txt").read_text()


def test_a_test_keeps_its_logs_and_their_percentiles_are_ours(tmp_path: Path) -> None:
    asked: list[int] = []
    log_dir = tmp_path / "logs"
    latencies = loadgen.run_test(lambda batch: asked.append(batch), [3, 4, 5], 400, log_dir)
    assert latencies.shape == (400,) and set(asked) == {3, 4, 5} and len(asked) == 400
    assert {path.name for path in log_dir.iterdir()} == {
        "mlperf_log_summary.txt",
        "mlperf_log_detail.txt",
    }
    summary = _summary(log_dir)
    assert re.search("Scenario : SingleStream\nMode     : PerformanceOnly", summary)
    # LoadGen's own percentiles are a second formulation of our rule.
    for percent in (50, 90, 97, 99):
        stated = re.search(rf"{percent}\.00 percentile latency \(ns\) +: (\d+)", summary)
        assert stated and int(stated[1]) == percentile(latencies, percent)


def test_all_models_alternate_in_short_tests(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "sums.tflite", sums)
    models = [ModelFile(role, LITERT, path) for role in ("teacher", "student")]
    logs = tmp_path / "logs"
    with TimingProcesses(models, Examples(TENSORS), SETTINGS, 0, str(logs)) as processes:
        measured = processes.measure()
    tests = sorted(str(each.parent.relative_to(logs)) for each in logs.rglob("*summary.txt"))
    names = ("harness", "student", "teacher", "teacher_again")
    assert tests == [
        f"process_{process}/round_{turn}/{name}"
        for process in range(3)
        for turn in range(3)
        for name in names
    ]
    single = measured.timings["litert_batch_1"]
    assert set(single) == {"teacher", "teacher_again", "student"}
    # As many queries as in blocks: 6 blocks of 50 in 3 tests.
    assert single["student"].latencies_ms.shape == (3, 3, 100)
    stated = re.search(r"50\.00 percentile latency \(ns\) +: (\d+)", _summary(logs / tests[1]))
    first = single["student"].latencies_ms[0, 0] * 1e6
    assert stated and int(stated[1]) == round(percentile(first, 50))
    assert set(measured.harness) == {"litert_batch_1"}
    assert measured.timings["litert_batch_4"]["student"].latencies_ms.shape[:2] == (3, 6)
