"""Do two independent runs of the latency part agree on the speed-up?

    make latency

Exports the teacher and the student of the preset `digits`, untrained, since a latency does not
depend on the weights' values. Then, while another process keeps one core busy, pairs of
measurements are made, each as the Evaluator makes it, on LiteRT. A pair agrees if each one's
median lies in the other's interval. The A/A control, and MLPerf LoadGen if it is installed, go
with it.

Writes bench/latency.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from records import IMAGE, image_spec

from modules.export import tflite
from modules.export.runtimes import LITERT, Examples, ModelFile
from modules.judge import evidence
from modules.measure import loadgen
from modules.measure.latency import TimingProcesses
from modules.models import zoo
from modules.settings import LatencySettings, ModelSettings

ROOT = Path(__file__).parent
PRESET = ROOT.parent / "pipeline" / "presets" / "digits.yaml"
SHAPE = (8, 8, 1)
CONFIDENCE = 0.95
WAY = "litert_batch_1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--no-load", action="store_true", help="without the busy process")
    parser.add_argument("--output", type=Path, default=ROOT / "latency.json")
    arguments = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (32, *SHAPE), np.uint8)
    with tempfile.TemporaryDirectory() as directory, busy_core(not arguments.no_load):
        files = export(Path(directory), pixels)
        runs = []
        for number in range(2 * arguments.pairs):
            runs.append(measure(files, pixels, LatencySettings(), number))
            print(number, json.dumps(runs[-1]), flush=True)
        if importlib.util.find_spec(loadgen.MODULE):
            settings = LatencySettings(engine="loadgen")
            official = measure(files, pixels, settings, 2 * arguments.pairs, directory)
        else:
            official = None
    results = summarize(runs, official) | {
        "busy_core": not arguments.no_load,
        "settings": LatencySettings().model_dump(),
        "confidence": CONFIDENCE,
        "environment": evidence.environment().model_dump(),
        "runs": runs,
    }
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps({key: value for key, value in results.items() if key != "runs"}, indent=2))


def export(directory: Path, pixels: np.ndarray) -> list[ModelFile]:
    """float32 TFLite files of the preset's two models."""
    preset, spec = yaml.safe_load(PRESET.read_text()), image_spec(SHAPE, classes=10)
    files = []
    for role in ("teacher", "student"):
        chosen = preset[role]
        settings = ModelSettings(model=chosen["model"], parameters=chosen["parameters"])
        model = zoo.build_model(settings, spec.by_name, spec.output)
        path = directory / f"{role}.tflite"
        path.write_bytes(tflite.convert(model, "float32", {IMAGE: pixels}, spec.output))
        files.append(ModelFile(role, LITERT, str(path)))
    return files


@contextlib.contextmanager
def busy_core(wanted: bool) -> Iterator[None]:
    """Another process that always has something to do, on whatever core it is given."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(
    files: list[ModelFile],
    pixels: np.ndarray,
    settings: LatencySettings,
    seed: int,
    log_dir: str | None = None,
) -> dict[str, Any]:
    """One run: the speed-up by way, and the A/A control."""
    started = time.perf_counter()
    with TimingProcesses(files, Examples({IMAGE: pixels}), settings, seed, log_dir) as processes:
        found = processes.measure()
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 1),
        "speedup": {way: roles["student"] for way, roles in found.speedups(CONFIDENCE).items()},
        "aa_control": found.aa_control(CONFIDENCE),
    }


def summarize(runs: list[dict[str, Any]], official: dict[str, Any] | None) -> dict[str, Any]:
    """How many pairs agree, by way, and what LoadGen says."""
    medians = [run["speedup"][WAY]["median"] for run in runs]
    result: dict[str, Any] = {"pairs": len(runs) // 2, "agreeing_pairs": {}}
    for way in runs[0]["speedup"]:
        ours = [run["speedup"][way] for run in runs]
        pairs = zip(ours[::2], ours[1::2], strict=True)
        result["agreeing_pairs"][way] = sum(
            holds(one, other) and holds(other, one) for one, other in pairs
        )
    result["median_speedup"] = float(np.median(medians))
    result["aa_controls_that_hold_1"] = sum(
        holds(run["aa_control"][WAY], {"median": 1.0}) for run in runs
    )
    if official is not None:
        result["loadgen"] = official
        result["loadgen_to_ours"] = official["speedup"][WAY]["median"] / float(np.median(medians))
    return result


def holds(interval: dict[str, float], other: dict[str, float]) -> bool:
    """Whether an interval contains the other's median."""
    return interval["ci_low"] <= other["median"] <= interval["ci_high"]


if __name__ == "__main__":
    main()
