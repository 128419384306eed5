"""The image, as far as it can be checked where no image can be built.

The Dockerfile against hadolint's rules and the project's own; what reaches the builder, by the
rules of .dockerignore; the wheel that is built from just that, and whether everything a compiled
pipeline starts can be imported from it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import ROOT
from docker.utils import exclude_paths
from dockerfile import arguments, expanded, instructions, locked

BIN = Path(sys.executable).parent
PACKAGES = ("components", "modules", "pipeline", "tfx_distill")
# What the builder is given beside the packages.
OTHERS = {
    "LICENSE",
    "requirements-cuda.lock",
    "requirements.in",
    "requirements.lock",
    "setup.py",
    "tools/image_entrypoint.sh",
    "tools/runtime_lock.py",
}
# What lies about in a checkout and must not get into an image.
LITTER = (
    ".env",
    ".git/config",
    ".venv/bin/python",
    "credentials.json",
    "modules/.secret",
    "modules/__pycache__/gate.cpython-311.pyc",
    "notebooks/explore_run.ipynb",
    "pipeline/presets/.digits.yaml.swp",
    "runs/digits/pushed/saved_model/1/saved_model.pb",
    "tests/test_image.py",
)


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    assert hadolint, "hadolint is a development tool of requirements.in; run `make setup`"
    done = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "info", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_base_image_has_the_tag_of_one_version():
    """hadolint does not look into arguments."""
    stages = set()
    for keyword, rest in instructions():
        if keyword == "FROM":
            image, _, name = rest.partition(" AS ")
            image = expanded(image, arguments())
            assert image in stages or re.search(r":\d+\.\d+\.\d+(-[\w-]+)?$", image), image
            stages.add(name)
    assert len(stages) == 4


def test_beam_and_python_of_the_worker_are_those_of_the_lock():
    """Beam refuses, or worse does not notice, a worker that differs from who sent the job."""
    given = arguments()
    assert given["BEAM_VERSION"] == locked()["apache-beam"]
    minor = given["PYTHON_VERSION"].rpartition(".")[0]
    assert given["BEAM_IMAGE"] == f"apache/beam_python{minor}_sdk:{given['BEAM_VERSION']}"
    assert given["RUNTIME_IMAGE"].startswith(f"python:{given['PYTHON_VERSION']}-slim")


def test_the_last_stage_runs_as_a_numbered_user_and_holds_no_secret():
    last = instructions()
    while any(keyword == "FROM" for keyword, _ in last[1:]):
        last = last[1:]
    users = [rest for keyword, rest in last if keyword == "USER"]
    # Kubernetes' runAsNonRoot cannot look up names.
    assert users and re.fullmatch(r"[1-9]\d*", users[-1])
    names = [rest for keyword, rest in instructions() if keyword in ("ARG", "ENV")]
    assert not re.search(r"(?i)secret|token|passw|credential|api_?key|index_url", " ".join(names))
    assert all(keyword not in ("ADD", "VOLUME", "EXPOSE") for keyword, _ in instructions())


@pytest.fixture(scope="module")
def tracked():
    """The project's files, relative, as git has them or would."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def context(tracked, tmp_path_factory):
    """A directory with what is left of a littered checkout by the rules of .dockerignore."""
    checkout, left = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("context")
    for name in (*tracked, *LITTER):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        if name in LITTER:
            (checkout / name).write_text("litter")
        else:
            shutil.copyfile(ROOT / name, checkout / name)
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    for name in exclude_paths(str(checkout), rules):
        # The client sends these two whatever the rules say; no COPY names them.
        if (checkout / name).is_file() and name not in ("Dockerfile", ".dockerignore"):
            (left / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / name, left / name)
    return left


def files_below(directory):
    return {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }


def test_the_builder_is_given_the_packages_and_little_else(context, tracked):
    code = {name for name in tracked if name.startswith(tuple(f"{each}/" for each in PACKAGES))}
    assert files_below(context) == code | OTHERS


def test_all_that_is_copied_is_there(context):
    copied = set()
    for keyword, rest in instructions():
        if keyword == "COPY" and "--from=" not in rest:
            sources = [word for word in rest.split() if not word.startswith("--")][:-1]
            copied.update(sources)
    assert all((context / source).exists() for source in copied)
    # And nothing is sent that no instruction asks for.
    assert {name.split("/")[0] if name.startswith(PACKAGES) else name for name in OTHERS} | set(
        PACKAGES
    ) == copied


@pytest.fixture(scope="module")
def installed(context, tmp_path_factory):
    """The wheel, built from what the builder is given, and unpacked."""
    directory = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--wheel-dir", str(directory), str(context)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def test_the_wheel_holds_code_presets_and_templates_whole(installed, tracked):
    code = {name for name in tracked if name.startswith(tuple(f"{each}/" for each in PACKAGES))}
    assert {name for name in files_below(installed) if ".dist-info/" not in name} == code
    assert {"pipeline/presets/digits.yaml", "modules/report/templates/report.css"} <= code


def run_installed(installed, code, directory, *arguments):
    """A process that finds the project in the unpacked wheel alone."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_image_has_the_digest_of_the_checkout(installed, tmp_path):
    """Where it is compiled and where it runs, the cache's key is the same."""
    from modules.code_digest import code_digest

    code = "from modules.code_digest import code_digest; print(code_digest())"
    done = run_installed(installed, code, tmp_path)
    assert done.stdout.strip() == code_digest(), done.stderr


IMPORT = """
import importlib, json, sys
from tfx.utils import import_utils
import modules, pipeline
site, classes, modules_ = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
assert modules.__file__.startswith(site) and pipeline.__file__.startswith(site)
for each in classes:
    import_utils.import_class_by_path(each)
for each in modules_:
    importlib.import_module(each)
"""


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["kubeflow", "vertex"])
def test_everything_that_a_compiled_pipeline_starts_can_be_imported(engine, installed, tmp_path):
    import yaml

    from pipeline.clusters.compilation import compile_pipeline
    from pipeline.config import load_config

    resources = "{}"
    if engine == "vertex":
        # Trainers in jobs of their own.
        gpus = "accelerator: NVIDIA_TESLA_T4, machine_type: n1-standard-8, replicas: 2"
        resources = f"{{trainer: {{{gpus}}}}}"
    config = load_config(
        "digits",
        [
            "runtime.image=registry/tfx-distill:1",
            "runtime.pipeline_root=gs://bucket/root",
            "runtime.vertex={project: project, region: europe-west4}",
            f"runtime.resources={resources}",
            "distill.alpha=auto",
        ],
    )
    compiled = yaml.safe_load(compile_pipeline(config, engine).split("\n---\n")[0])
    spec = compiled.get("pipelineSpec", compiled)
    containers = [
        executor["container"]
        for executor in spec["deploymentSpec"]["executors"].values()
        if "container" in executor
    ]
    classes, started = set(), {"apache_beam.runners.worker.sdk_worker_main"}
    for container in containers:
        words = [*container["command"], *container["args"]]
        classes.add(words[words.index("--executor_class_path") + 1])
        started.add(words[words.index("-m") + 1])
    text = json.dumps(spec)
    # The user code of Transform and the Trainers, and what trains in a job of its own.
    started.update(re.findall(r'"module_path": \{[^}]*?"constant": "([\w.]+)"', text))
    started.update(re.findall(r'"preprocessing_fn": \{[^}]*?"constant": "([\w.]+)\.\w+"', text))
    classes.update(re.findall(r'executor_class_path\\+": \\+"([\w.]+)', text))
    assert len(containers) == 13
    assert {
        "modules.preprocessing",
        "modules.distill_trainer",
        "pipeline.clusters.container",
    } <= started
    started.add("tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor")
    done = run_installed(
        installed,
        IMPORT,
        tmp_path,
        *(str(installed), json.dumps(sorted(classes)), json.dumps(sorted(started))),
    )
    assert done.returncode == 0, done.stderr[-3000:]
