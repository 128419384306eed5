"""A Docker server of its own, and the image that it builds from the Dockerfile as it stands.

Nothing is pulled. Stand-ins have the names of the base images: Debian with its own Python of the
same minor version, and the boot program of Beam's workers as Beam's source has it. What else the
image holds comes from where packages come from on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import ROOT
from dockerfile import arguments

# Debian's own, whatever else is in front of it on the path.
DOCKER = "/usr/bin/docker"
IMAGE = "tfx-distill:tested"
_BOOT = "github.com/apache/beam/sdks/v2/python/container"
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# Where this machine's packages come from, if it says so.
_INDEXES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_START_S = 60


def lacking() -> str | None:
    """What this machine lacks to start a server, or None."""
    if os.geteuid():
        return "root, to start a Docker server"
    for program in ("apt-get", "go"):
        if not shutil.which(program):
            return program
    return None


@contextmanager
def docker_server(directory: Path) -> Iterator[str]:
    """Start a server whose containers have no network; yields its address for DOCKER_HOST."""
    if not (Path(DOCKER).exists() and shutil.which("dockerd") and shutil.which("debootstrap")):
        _call("apt-get", "update", "-qq")
        packages = ("docker.io", "debootstrap")
        _call("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    address = f"unix://{directory}/docker.sock"
    command = [
        *("dockerd", f"--host={address}", "--bridge=none", "--iptables=false"),
        *(f"--data-root={directory}/data", f"--exec-root={directory}/exec"),
        f"--pidfile={directory}/dockerd.pid",
    ]
    log = directory / "dockerd.txt"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait()


def build_image(address: str, directory: Path) -> None:
    """Build IMAGE on stand-ins."""
    _make_bases(address, directory)
    _build(address, IMAGE, str(ROOT))


def _make_bases(address: str, directory: Path) -> None:
    names = arguments()
    debian = directory / "debian"
    release, python = names["RUNTIME_IMAGE"].rpartition("-")[2], "python3.11"
    assert names["PYTHON_VERSION"].startswith(python.removeprefix("python"))
    packages = f"ca-certificates,{python},{python}-venv,python3-distutils"
    _call("debootstrap", "--variant=minbase", f"--include={packages}", release, str(debian))
    (debian / "usr/lib" / python / "EXTERNALLY-MANAGED").unlink()
    (debian / "usr/bin/python").symlink_to(python)
    shutil.copyfile(f"/{_CERTIFICATES}", debian / _CERTIFICATES)
    for downloads in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(debian / downloads)
    tar = subprocess.Popen(["tar", "-C", str(debian), "-c", "."], stdout=subprocess.PIPE)
    command = [DOCKER, "import", "-", names["RUNTIME_IMAGE"]]
    subprocess.run(command, stdin=tar.stdout, env=_environment(address), check=True)
    assert tar.wait() == 0

    indexes = "".join(f"ENV {key}={os.environ[key]}\n" for key in _INDEXES if key in os.environ)
    full = (
        f"FROM {names['RUNTIME_IMAGE']}\n"
        "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends "
        f"g++ {python}-dev python3-pip && rm -f /usr/lib/{python}/EXTERNALLY-MANAGED\n"
        f"ENV SSL_CERT_FILE=/{_CERTIFICATES}\n{indexes}"
    )
    _build(address, names["BUILD_IMAGE"], "-", full)

    boot = directory / "boot"
    version = names["BEAM_VERSION"]
    go = os.environ | {"GOBIN": str(boot), "CGO_ENABLED": "0"}
    subprocess.run(["go", "install", f"{_BOOT}@v{version}"], env=go, check=True)
    (boot / "Dockerfile").write_text("FROM scratch\nCOPY container /opt/apache/beam/boot\n")
    _build(address, names["BEAM_IMAGE"], str(boot))


def _build(address: str, name: str, context: str, dockerfile: str | None = None) -> None:
    proxies = [word for key in _PROXIES for word in ("--build-arg", key)]
    _call(
        *(DOCKER, "build", "--quiet", "--network=host", f"--tag={name}", *proxies, context),
        stdin=dockerfile,
        environment=_environment(address),
    )


def _environment(address: str) -> dict[str, str]:
    return os.environ | {"DOCKER_HOST": address, "DOCKER_BUILDKIT": "1"}


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    command = [DOCKER, "version"]
    while time.monotonic() < end and server.poll() is None:
        if not subprocess.run(command, env=_environment(address), capture_output=True).returncode:
            return
        time.sleep(0.2)
    raise RuntimeError(f"no Docker server after {_START_S} s: {log.read_text()[-2000:]}")


def _call(
    *command: str, stdin: str | None = None, environment: dict[str, str] | None = None
) -> None:
    done = subprocess.run(
        command, input=stdin, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}")
