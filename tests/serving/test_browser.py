"""LiteRT of the browser, `@litertjs/core`, answers with the pushed TFLite files in Chromium.

Its inputs are `miniature_run`'s. Version 2.5.3 refuses every file with an int8 tensor at its edge,
so the variant `int8` of a classifier is not for it; docs/serving.md says so.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import headless_chromium
from checkout import ROOT

pytestmark = [pytest.mark.real, pytest.mark.slow]

HERE = ROOT / "tests" / "serving"
MINUTES = 60_000  # of Playwright's milliseconds


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps no log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page and its packages, as npm installs them from the lock."""
    if not shutil.which("npm"):
        message = "npm is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    directory = tmp_path_factory.mktemp("site")
    for name in ("package.json", "package-lock.json", "litert.html"):
        shutil.copy(HERE / name, directory)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=directory, check=True)
    return directory


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Any]:
    """The page, ready, from a server on the loopback interface."""
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with headless_chromium() as browser:
                opened = browser.new_page()
                opened.goto(f"http://127.0.0.1:{server.server_port}/litert.html")
                opened.wait_for_selector("text=ready", timeout=2 * MINUTES)
                yield opened
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic_range"])
def test_the_browser_answers_as_our_runtime_and_the_report_do(
    pushed: Any, variant: str, site: Path, page: Any
) -> None:
    # A name of its own, for the browser keeps what it has loaded.
    name = f"{pushed.described(variant).sha256}.tflite"
    shutil.copy(pushed.model("tflite", variant).path, site / name)
    examples = [
        {name: np.ravel(values[row]).tolist() for name, values in pushed.inputs.items()}
        for row in range(len(pushed.serialized))
    ]
    answer = "([url, examples]) => answer(url, examples)"
    found = np.array(page.evaluate(answer, [f"/{name}", examples]))
    # The same kernels, XNNPACK's, for another processor.
    np.testing.assert_allclose(found, pushed.answers(variant), rtol=1e-5, atol=1e-5)
    pushed.assert_as_reported(found, variant)
