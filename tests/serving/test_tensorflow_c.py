"""A C program answers with a pushed SavedModel, through TensorFlow's C library alone.

TensorFlow Serving's loader does the same: it loads the tag `serve`, and runs a signature on the
tensors of a request. Python, Keras, TFX and this project are not in the process. What it loads is
`miniature_run`'s, and a model of features of every kind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

pytestmark = [pytest.mark.thorough, pytest.mark.slow]

SOURCE = ROOT / "tests" / "serving" / "replay.c"
SIGNATURES = ("serving_default", "serving_raw")


@pytest.fixture(scope="session")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """A function from a SavedModel and a file of requests to the answers."""
    program = tmp_path_factory.mktemp("replay") / "replay"
    # TensorFlow itself is not imported: the test needs nothing but its files.
    tensorflow = Path(sysconfig.get_path("purelib"), "tensorflow").resolve()
    compiler = shutil.which("cc") or shutil.which("g++")
    assert compiler, "no C compiler, which the environment's setup needs, too"
    subprocess.run(
        [
            *(compiler, "-x", "c", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"),
            *(f"-I{tensorflow / 'include'}", str(SOURCE), "-o", str(program)),
            *(f"-L{tensorflow}", f"-Wl,-rpath,{tensorflow}"),
            *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
        ],
        check=True,
    )

    def run(saved_model: str | Path, requests: Path) -> list[dict[str, Any]]:
        done = subprocess.run(
            [str(program), str(saved_model), str(requests)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def logits(answers: Sequence[dict[str, Any]], signature: str) -> np.ndarray:
    return np.array([each["logits"] for each in answers if each["signature"] == signature])


def test_both_signatures_answer_as_predict_and_the_report_do(
    pushed: Any, replay: Any, tmp_path: Path
) -> None:
    import tensorflow_transform as tft

    from modules.export.raw_features import raw_features
    from modules.export.warmup import write_requests

    model = pushed.model("saved_model")
    features = raw_features(tft.TFTransformOutput(pushed.graph), model.spec)
    write_requests(pushed.serialized, features, str(tmp_path))
    (requests,) = tmp_path.iterdir()
    answers = replay(model.path, requests)
    assert len(answers) == 2 * len(pushed.serialized)
    expected = pushed.answers()
    for signature in SIGNATURES:
        found = logits(answers, signature)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        pushed.assert_as_reported(found, "student")
    for each in answers:
        assert each["label"] == [pushed.classes[np.argmax(each["logits"])]]
        assert sum(each["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_the_warm_up_requests_that_are_pushed_are_answered(digits: Any, replay: Any) -> None:
    path = digits.model("saved_model").path
    answers = replay(path, Path(path, "assets.extra", "tf_serving_warmup_requests"))
    first, second = (logits(answers, signature) for signature in SIGNATURES)
    assert len(first) == 8
    np.testing.assert_allclose(first, second, rtol=1e-6)
