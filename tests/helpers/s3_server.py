"""A real S3 server, SeaweedFS, on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hosts import free_ports

ACCESS_KEY, SECRET_KEY = "tester", "not-a-secret"
_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
)
_START_S = 60


@contextmanager
def s3_server(directory: Path) -> Iterator[str]:
    """A server with its data in the directory; yields the URL of its endpoint."""
    credentials = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    identity = {"name": "tester", "credentials": [credentials], "actions": ["Admin"]}
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    command = [
        *(str(Path(sys.executable).with_name("weed")), f"-logdir={directory}", "server"),
        *(f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
        *("-s3", f"-s3.config={config}", "-s3.iam=false"),
        # Ports of their own, on which two servers would clash.
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        # As Amazon's: buckets are made on purpose, and there are objects but no directories.
        *("-s3.autoCreateBucket=false", "-s3.allowEmptyFolder=false"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=64"),
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with (directory / "output.txt").open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _wait_for(endpoint, server, directory / "output.txt")
        yield endpoint
    finally:
        server.kill()  # nobody needs what it would still tidy up, for ten seconds
        server.wait()


def environment(endpoint: str) -> dict[str, str]:
    """What a process needs to reach the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # Nothing of whoever runs the tests, and no waiting between attempts.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
    }


def _wait_for(endpoint: str, server: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=5)
        except urllib.error.HTTPError:
            return  # it answers, and refuses who does not sign
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no S3 server after {_START_S} s: {output.read_text()[-2000:]}")
