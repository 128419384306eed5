"""MLPerf LoadGen as a stopwatch: its single-stream scenario, in performance mode.

LoadGen issues a query when the last one is answered, in an order of its own, and keeps its usual
logs. The package is `mlcommons-loadgen`, the module `mlperf_loadgen`; both are imported only here.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.errors import ConfigError
from modules.export.runtimes import Query

MODULE = "mlperf_loadgen"
_TRACE = "mlperf_log_trace.json"


def require() -> None:
    """Refuses the engine where the package is missing.

    Raises:
      ConfigError: it is.
    """
    if importlib.util.find_spec(MODULE) is None:
        raise ConfigError(
            f"latency.engine is loadgen, but the module {MODULE} is not installed; "
            "pip install mlcommons-loadgen, or set latency.engine to blocks"
        )


def run_test(
    query: Query, batches: Sequence[Any], queries: int, log_dir: Path
) -> NDArray[np.int64]:
    """One LoadGen test of one model.

    The latencies are those that LoadGen's summary states percentiles of, read from its trace; the
    trace itself, hundreds of bytes for each query, is not kept. All logs are written when the
    test has ended, so that nothing writes beside it.

    Args:
      query: answers one of the batches, each of a single example.
      batches: LoadGen's sample library.
      queries: number of queries.
      log_dir: a directory for `mlperf_log_summary.txt` and `mlperf_log_detail.txt`.

    Returns:
      Nanoseconds of each query, `[queries]`, in the order they were issued.
    """
    loadgen = importlib.import_module(MODULE)
    log_dir.mkdir(parents=True, exist_ok=True)
    # One response object for all queries: making a new one would be timed too.
    response = loadgen.QuerySampleResponse(0, 0, 0)
    responses, complete = [response], loadgen.QuerySamplesComplete

    def issue(identities: list[int], indices: list[int]) -> None:
        query(batches[indices[0]])
        response.id = identities[0]
        complete(responses)

    def nothing(*_: object) -> None:
        """The samples are in memory, and a single stream has nothing to flush."""

    system = loadgen.ConstructFastSUT(issue, nothing)
    library = loadgen.ConstructQSL(len(batches), len(batches), nothing, nothing)
    try:
        settings = _test_settings(loadgen, queries)
        loadgen.StartTestWithLogSettings(
            system, library, settings, _log_settings(loadgen, log_dir), ""
        )
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroyFastSUT(system)
    return _read_trace(log_dir, queries)


def _test_settings(loadgen: Any, queries: int) -> Any:
    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = queries
    settings.min_duration_ms = 0
    return settings


def _log_settings(loadgen: Any, log_dir: Path) -> Any:
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(log_dir)
    logs.log_output.copy_summary_to_stdout = False
    logs.log_mode = loadgen.LoggingMode.EndOfTestOnly
    logs.enable_trace = True
    return logs


def _read_trace(log_dir: Path, queries: int) -> NDArray[np.int64]:
    trace = log_dir / _TRACE
    samples = re.findall(
        r'"query_seq":(\d+),.*?"complete_ns":(\d+)', trace.read_text(encoding="utf-8")
    )
    in_order = sorted((int(position), int(duration)) for position, duration in samples)
    if len(in_order) != queries:
        raise RuntimeError(f"LoadGen's trace has {len(in_order)} of {queries} queries")
    trace.unlink()
    (log_dir / "mlperf_log_accuracy.json").unlink()
    return np.array([duration for _, duration in in_order], np.int64)
