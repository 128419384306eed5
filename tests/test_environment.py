"""The environment: who may set it up, what the lock holds, what the package declares."""

import ast
import importlib.metadata
import importlib.util
import re
import runpy
from types import ModuleType

import pytest
import setuptools
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECK_PATH = ROOT / "tools" / "check_environment.py"
# These two are older than TFX asks for on Python 3.11, and ask for older packages themselves.
OVERRIDDEN = {"ml-metadata", "tensorflow-data-validation"}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_environment", CHECK_PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def facts(check):
    """Debian 12 with its own Python and everything installed."""
    return check.Facts(
        python=(3, 11),
        system="Linux",
        machine="x86_64",
        glibc=(2, 36),
        has_compiler=True,
        has_headers=True,
        has_venv=True,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"glibc": (2, 27)},
        {"python": (3, 12), "glibc": (2, 39)},
        {"python": (3, 13), "glibc": (2, 41)},
        {"python": (3, 13), "system": "Darwin", "machine": "arm64", "glibc": None},
    ],
)
def test_check_accepts(check, facts, changes):
    status, _ = check.verdict(facts._replace(**changes))
    assert status == check.FITS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": (3, 10)}, "must be 3.11, 3.12 or 3.13, but is 3.10; install"),
        ({"python": (3, 14)}, "must be 3.11, 3.12 or 3.13, but is 3.14; install"),
        (
            {"python": (3, 12)},
            "3.12 needs glibc 2.39 or newer, but this system has 2.36; use Python",
        ),
        ({"glibc": (2, 26)}, "3.11 needs glibc 2.27 or newer, but this system has 2.26; a newer"),
        ({"python": (3, 13), "glibc": (2, 26)}, "has 2.26; a newer Linux"),
        ({"glibc": None}, "need the GNU C library; use"),
        ({"machine": "aarch64"}, "no packages for Linux on aarch64; use"),
        ({"system": "Darwin", "machine": "arm64", "glibc": None}, "must be 3.12 or 3.13"),
    ],
)
def test_check_asks_for_another_python_or_system(check, facts, changes, words):
    status, line = check.verdict(facts._replace(**changes))
    assert status == check.UNFIT
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"has_compiler": False}, "missing: a C++ compiler; install it"),
        ({"has_headers": False}, "apt-get install python3.11-dev)"),
        ({"has_venv": False}, "apt-get install python3.11-venv)"),
        ({"has_compiler": False, "has_headers": False}, "apt-get install g++ python3.11-dev)"),
    ],
)
def test_check_names_all_that_is_missing(check, facts, changes, words):
    status, line = check.verdict(facts._replace(**changes))
    assert status == check.INCOMPLETE
    assert words in line
    assert "\n" not in line


def test_check_sees_a_missing_compiler(check, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    assert not check.gather().has_compiler


def test_check_accepts_this_machine(check):
    status, line = check.verdict(check.gather())
    assert status == check.FITS, line


def test_check_can_be_read_by_an_old_python():
    ast.parse(CHECK_PATH.read_text(), feature_version=(3, 6))


def _locked() -> list[tuple[Requirement, int]]:
    """The requirements of the lock, each with its number of hashes."""
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    return [
        (
            Requirement(block.split(" \\")[0]),
            len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)),
        )
        for block in blocks
    ]


def test_lock_pins_and_hashes_every_package():
    locked = _locked()
    assert len(locked) > 200
    for requirement, hashes in locked:
        assert [part.operator for part in requirement.specifier] == ["=="], requirement
        assert hashes > 0, requirement


def test_lock_names_no_host_and_no_path():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "/" in line or line.startswith("-")]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("source", ["requirements.in", "overrides.txt"])
def test_lock_holds_what_is_asked_for(source, python):
    """Fails where a source was edited and `make lock` forgotten."""
    target = {"python_version": python, "python_full_version": f"{python}.0"}
    versions = {
        canonicalize_name(locked.name): next(iter(locked.specifier)).version
        for locked, _ in _locked()
        if locked.marker is None or locked.marker.evaluate(target)
    }
    for asked in _requirements((ROOT / source).read_text()):
        if asked.marker is None or asked.marker.evaluate(target):
            locked = versions.get(canonicalize_name(asked.name))
            assert locked is not None, f"{asked} is not locked; run `make lock`"
            assert asked.specifier.contains(locked), f"{asked}, locked {locked}; run `make lock`"


def _requirements(text: str) -> list[Requirement]:
    return [Requirement(line) for line in re.findall(r"^[^#\s].*$", text, flags=re.MULTILINE)]


def test_overrides_go_no_further_than_the_two_older_wheels():
    """An override silences all who restrict a name, not only the one it is meant for."""
    conflicts = []
    for package in importlib.metadata.distributions():
        if canonicalize_name(package.name) in OVERRIDDEN:
            continue
        for requirement in map(Requirement, package.requires or []):
            name = canonicalize_name(requirement.name)
            if name in OVERRIDDEN or (requirement.marker and not requirement.marker.evaluate()):
                continue
            version = importlib.metadata.version(name)
            if not requirement.specifier.contains(version, prereleases=True):
                conflicts.append(f"{package.name} asks for {requirement}, installed is {version}")
    assert not conflicts, "\n".join(["run `make setup`, or narrow overrides.txt:", *conflicts])


@pytest.fixture
def declared(monkeypatch) -> dict:
    """What setup.py passes to setuptools."""
    arguments = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
    monkeypatch.chdir(ROOT)  # find_packages looks there
    runpy.run_path("setup.py")
    return arguments


def test_setup_script_declares_the_requirements_and_the_packages(declared):
    runtime, _, development = (ROOT / "requirements.in").read_text().partition("# -- development")
    assert [str(Requirement(line)) for line in declared["install_requires"]] == [
        str(requirement) for requirement in _requirements(runtime)
    ]
    assert "pytest" not in declared["install_requires"]
    assert declared["extras_require"] == {
        "hub": ["keras-hub"],
        "onnx": ["onnxruntime"],
    }
    assert "pytest" in [requirement.name for requirement in _requirements(development)]

    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("tfx_distill", "pipeline", "components", "modules")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(declared["packages"]) == packages


def test_setup_script_ships_what_is_no_code(declared):
    shipped = {
        path.relative_to(ROOT)
        for package, patterns in declared["package_data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    assert shipped == {
        path.relative_to(ROOT)
        for folder in ("pipeline/presets", "modules/data/embedded", "modules/report/templates")
        for path in (ROOT / folder).iterdir()
    }


def test_setup_script_and_check_accept_the_same_pythons(check, declared):
    first, last = check.FIRST_PYTHON, check.LAST_PYTHON
    assert declared["python_requires"] == f">=3.{first[1]},<3.{last[1] + 1}"
