"""The scripts in front of and inside the image, with stand-ins for the programs that they start."""

import os
import re
import shutil
import subprocess

import pytest
from checkout import ROOT


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
    logged = f'echo "$@" BuildKit: $DOCKER_BUILDKIT >> {log}'
    script(repository.parent / "programs" / "podman", logged)
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
    assert built.endswith(f"REVISION={revision} --build-arg X=1 . BuildKit: 1")
    assert "latest" not in built


def test_what_is_not_committed_is_not_built(repository):
    script(repository.parent / "programs" / "docker", "exit 0")
    (repository / "setup.py").write_text("changed")
    done = build(repository)
    assert done.returncode == 1
    assert "commit first" in done.stderr and done.stderr.count("\n") == 1
