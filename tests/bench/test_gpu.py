"""`make bench-gpu` where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

WAYS = ("teacher", "student_alone", "cached", "online", "keras_distillation")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / "gpu.py"), *arguments],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = bench()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("TensorFlow sees no GPU")


@pytest.mark.slow
def test_figures_of_the_cpu_do_not_get_into_the_documents() -> None:
    done = bench("--device", "cpu", "--quick")
    assert done.returncode == 1
    assert "needs --output" in done.stderr


@pytest.mark.thorough
@pytest.mark.slow
def test_every_way_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = bench("--device", "cpu", "--quick", "--output", str(output))
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())["figures"]
    assert [(each["policy"], each["xla"], each["way"]) for each in figures] == [
        ("mixed_float16", True, way) for way in WAYS
    ]
    for each in figures:
        assert "error" not in each, each
        assert each["examples_per_second"] > 0
        assert each["peak_memory_mb"] > 0
    assert len([line for line in done.stdout.splitlines() if line.startswith("| ")]) == 2
