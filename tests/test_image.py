"""The image, as far as it can be checked where no image can be built.

The Dockerfile against hadolint's rules and the project's own; what reaches the builder, by the
rules of .dockerignore; the wheel that is built from just that, and whether everything a compiled
pipeline starts can be imported from it; the locks for the image's Python and platform; the scripts
in front of and inside the image.
"""

import importlib.metadata
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from docker.utils import exclude_paths
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BIN = Path(sys.executable).parent
PACKAGES = ("components", "modules", "pipeline")
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


def instructions():
    """`(keyword, rest)` of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def arguments():
    """Defaults of the arguments before the first stage, with each other put in."""
    found = {}
    for keyword, rest in instructions():
        if keyword == "FROM":
            return found
        name, _, default = rest.partition("=")
        found[name] = expanded(default, found)
    raise AssertionError("the Dockerfile has no FROM")


def expanded(text, values):
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)


def locked():
    """Versions by name for the image's Python and platform."""
    python = arguments()["PYTHON_VERSION"]
    target = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    lines = re.findall(r"^\w.*?(?= \\$)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each in map(Requirement, lines)
        if each.marker is None or each.marker.evaluate(target)
    }


# -- the Dockerfile --


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


# -- what the builder is given --


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
    assert {"pipeline/presets/digits.yaml", "modules/templates/report.css"} <= code


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
    from components.code_digest import code_digest

    code = "from components.code_digest import code_digest; print(code_digest())"
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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["kubeflow", "vertex"])
def test_everything_that_a_compiled_pipeline_starts_can_be_imported(engine, installed, tmp_path):
    import yaml

    from pipeline.compilation import compile_pipeline
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
            "tune={trials: 2, alpha: [0.1, 0.9]}",
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
    classes.update(re.findall(r'executor_class_path\\+": \\+"([\w.]+)', text))
    assert len(containers) == 13
    assert {"modules.preprocessing", "modules.distill_trainer", "pipeline.container"} <= started
    started.add("tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor")
    done = run_installed(
        installed,
        IMPORT,
        tmp_path,
        *(str(installed), json.dumps(sorted(classes)), json.dumps(sorted(started))),
    )
    assert done.returncode == 0, done.stderr[-3000:]


# -- the locks --


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


# -- the scripts --


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (["--id=1", "--provision_endpoint=host:1"], "boot --id=1 --provision_endpoint=host:1"),
        (["--worker_pool"], "boot --worker_pool"),
        (["printf", "%s|", "a b", "c"], "a b|c|"),
        ([], "tfx-distill --help"),
    ],
)
def test_the_entry_point_tells_beams_workers_from_commands(given, answer, tmp_path):
    text = (ROOT / "tools" / "image_entrypoint.sh").read_text()
    assert "/opt/apache/beam/boot" in text
    entry = tmp_path / "entry"
    entry.write_text(text.replace("/opt/apache/beam/boot", str(tmp_path / "bin" / "boot")))
    for name in ("boot", "tfx-distill"):
        script(tmp_path / "bin" / name, f'echo {name} "$@"')
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(entry), *given],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == answer


@pytest.fixture
def repository(tmp_path):
    """A commit with what tools/image.sh looks at, and a PATH of its own without Docker."""
    root = tmp_path / "repository"
    (root / "tools").mkdir(parents=True)
    for name in ("setup.py", "tools/image.sh"):
        shutil.copy(ROOT / name, root / name)
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "git", "sed", "dirname"):
        (programs / name).symlink_to(shutil.which(name))
    return root


def build(repository, *arguments):
    return subprocess.run(
        ["sh", "tools/image.sh", *(arguments or ("registry/tfx-distill", "cpu"))],
        cwd=repository,
        env={"PATH": str(repository.parent / "programs")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_docker_one_line_says_so(repository):
    done = build(repository)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"image: needs docker or podman, and neither is .*\n", done.stderr)


def test_a_docker_without_its_server_is_named(repository):
    script(repository.parent / "programs" / "docker", "echo no server >&2; exit 1")
    done = build(repository)
    assert done.returncode == 1
    assert re.fullmatch(r"image: docker is installed, but its server .*\n", done.stderr)


def test_the_tag_is_version_and_commit(repository):
    """Podman, since Docker does not answer."""
    log = repository.parent / "log"
    script(repository.parent / "programs" / "docker", "exit 1")
    script(repository.parent / "programs" / "podman", f'echo "$@" >> {log}')
    done = build(repository, "registry/tfx-distill", "cuda", "--build-arg", "X=1")
    assert done.returncode == 0, done.stderr
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    version = re.search(r'version="(.*)"', (ROOT / "setup.py").read_text())[1]
    image = f"registry/tfx-distill:{version}-{revision[:12]}-cuda"
    assert done.stdout == f"image: {image}\n"
    built = log.read_text().splitlines()[-1]
    assert built.startswith(f"build --pull --tag {image} --build-arg VARIANT=cuda ")
    assert built.endswith(f"REVISION={revision} --build-arg X=1 .")
    assert "latest" not in built


def test_what_is_not_committed_is_not_built(repository):
    script(repository.parent / "programs" / "docker", "exit 0")
    (repository / "setup.py").write_text("changed")
    done = build(repository)
    assert done.returncode == 1
    assert "commit first" in done.stderr and done.stderr.count("\n") == 1
