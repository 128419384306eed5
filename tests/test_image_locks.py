"""The locks for the image's Python and platform. Some need a package index, and say so if not."""

import importlib.metadata
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile import ROOT, arguments, locked
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BIN = Path(sys.executable).parent


def uv(*arguments):
    """Run uv against the package index; skips where none can be reached."""
    done = subprocess.run(
        [str(BIN / "uv"), "pip", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode and re.search(
        r"dns error|error sending request|[Cc]onnection refused|timed out|Failed to fetch",
        done.stderr,
    ):
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runtime_lock():
    module = runpy.run_path(str(ROOT / "tools" / "runtime_lock.py"))
    texts = [(ROOT / f"requirements.{kind}").read_text() for kind in ("in", "lock")]
    return module["runtime_lock"](*texts)


def pins(text):
    return set(re.findall(r"^[\w.-]+==[^\s;\\]+", text, re.MULTILINE))


def test_the_runtime_lock_is_a_part_of_the_lock_without_the_development_tools(runtime_lock):
    lock = (ROOT / "requirements.lock").read_text()
    assert set(runtime_lock.splitlines()) <= set(lock.splitlines())
    names = {pin.partition("==")[0] for pin in pins(runtime_lock)}
    # TFX needs pip in the environment; Beam, TFX and TensorFlow come through others.
    assert {"pip", "setuptools", "tfx", "apache-beam", "pyfarmhash"} <= names
    assert not names & {"pytest", "ruff", "mypy", "playwright", "uv", "ipykernel"}
    assert runtime_lock.count("\n") < lock.count("\n")


def test_the_runtime_lock_is_what_uv_resolves(runtime_lock, tmp_path):
    """The second formulation: resolve the runtime names, held to the versions of the lock."""
    runtime, _, _ = (ROOT / "requirements.in").read_text().partition("# -- development --")
    (tmp_path / "runtime.in").write_text(runtime)
    done = uv(
        *("compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header"),
        *("--override", "overrides.txt", "--constraint", "requirements.lock"),
        str(tmp_path / "runtime.in"),
    )
    assert pins(done.stdout) == pins(runtime_lock)


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_the_locks_can_be_installed_on_the_images_python_and_platform(
    variant, runtime_lock, tmp_path
):
    (tmp_path / "runtime.lock").write_text(runtime_lock)
    extra = ["--requirements", "requirements-cuda.lock"] if variant == "cuda" else []
    done = uv(
        *("install", "--dry-run", "--no-deps", "--require-hashes"),
        *("--python-version", arguments()["PYTHON_VERSION"].rpartition(".")[0]),
        # glibc 2.36 is Debian 12's.
        *("--python-platform", "x86_64-manylinux_2_36", "--target", str(tmp_path / "site")),
        *("--build-constraints", "requirements.lock"),
        *("--requirements", str(tmp_path / "runtime.lock"), *extra),
    )
    chosen = {line.strip(" +") for line in done.stderr.splitlines() if line.startswith(" + ")}
    assert {f"tensorflow=={locked()['tensorflow']}", "ml-metadata==1.17.1"} <= chosen
    assert any(each.startswith("nvidia-cudnn-cu12==") for each in chosen) == (variant == "cuda")


def test_cuda_packages_are_those_that_tensorflow_asks_for():
    asked = {
        (canonicalize_name(each.name), each.specifier)
        for each in map(Requirement, importlib.metadata.requires("tensorflow"))
        if each.marker and each.marker.evaluate({"extra": "and-cuda"})
        if not each.marker.evaluate({"extra": ""})
    }
    ours = re.findall(r"^\w.*$", (ROOT / "requirements-cuda.in").read_text(), re.MULTILINE)
    assert {(each.name, each.specifier) for each in map(Requirement, ours)} == asked
    versions = dict(pin.split("==") for pin in pins((ROOT / "requirements-cuda.lock").read_text()))
    assert set(versions) == {name for name, _ in asked}
    for name, specifier in asked:
        assert specifier.contains(versions[name]), name
