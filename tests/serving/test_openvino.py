"""OpenVINO, which has a front end of its own for TFLite, answers with the pushed files.

It is installed beside the environment, from a lock of its own. Its inputs are `miniature_run`'s.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

pytestmark = [pytest.mark.real, pytest.mark.slow]

HERE = ROOT / "tests" / "serving"
# By variant, how far an answer may be from LiteRT's, and how many examples may be answered
# otherwise than in the report: LiteRT rounds activations to 8 bits where OpenVINO does not.
BOUNDS = {
    "float32": (1e-4, 0),
    "float16": (1e-4, 0),
    "dynamic_range": (0.1, 2),
    "int8": (0.5, 2),
}


@pytest.fixture(scope="module")
def openvino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of its packages."""
    directory = tmp_path_factory.mktemp("openvino")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
            *("--disable-pip-version-check", f"--target={directory}"),
            f"--requirement={HERE / 'requirements.lock'}",
        ],
        check=True,
    )
    return directory


@pytest.mark.parametrize("variant", BOUNDS)
def test_openvino_answers_as_our_runtime_and_the_report_do(
    pushed: Any, variant: str, openvino: Path, tmp_path: Path
) -> None:
    described = pushed.described(variant)
    names = [each["name"] for each in described.inputs]
    np.savez(tmp_path / "inputs.npz", **{name: pushed.inputs[name] for name in names})
    subprocess.run(
        [
            *(sys.executable, str(HERE / "ask_openvino.py"), pushed.model("tflite", variant).path),
            *(str(tmp_path / "inputs.npz"), str(tmp_path / "answers.npy")),
        ],
        env={**os.environ, "PYTHONPATH": str(openvino)},
        check=True,
    )
    found = np.load(tmp_path / "answers.npy")
    if quantization := described.output["quantization"]:
        steps = found.astype(np.float32) - quantization["zero_point"]
        found = steps * np.float32(quantization["scale"])
    difference, others = BOUNDS[variant]
    np.testing.assert_allclose(found, pushed.answers(variant), atol=difference)
    pushed.assert_as_reported(found, variant, others)
