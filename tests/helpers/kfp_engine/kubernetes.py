"""What the driver and the launcher ask of Kubernetes: a ConfigMap, and a Secret that it names."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from s3_server import ACCESS_KEY, SECRET_KEY

NAMESPACE = "kubeflow"
# Where pods find who they are.
SERVICE_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
_SECRET, _CONFIG = "object-store", "kfp-launcher"


@contextmanager
def kubernetes(directory: Path, object_store: str) -> Iterator[dict[str, str]]:
    """Serve them; yields the variables that name the server to a pod.

    Args:
      directory: Empty; becomes the directory of the service account.
      object_store: URL of the endpoint of s3:// and minio://.
    """
    key = directory.with_suffix(".key")
    certificate = directory / "ca.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    (directory / "namespace").write_text(NAMESPACE)
    (directory / "token").write_text("not-a-secret")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_objects(object_store)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.server_port),
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _objects(endpoint: str) -> dict[str, dict[str, Any]]:
    """The two objects by their paths."""
    credentials = {
        "fromEnv": False,
        "secretRef": {
            "secretName": _SECRET,
            "accessKeyKey": "accesskey",
            "secretKeyKey": "secretkey",
        },
    }
    default = {
        "endpoint": endpoint.removeprefix("http://"),
        "region": "us-east-1",
        "disableSSL": True,
        "credentials": credentials,
    }
    providers = yaml.safe_dump({name: {"default": default} for name in ("s3", "minio")})
    secrets = {"accesskey": ACCESS_KEY, "secretkey": SECRET_KEY}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in secrets.items()}
    place = f"/api/v1/namespaces/{NAMESPACE}"
    return {
        f"{place}/configmaps/{_CONFIG}": _object("ConfigMap", _CONFIG, {"providers": providers}),
        f"{place}/secrets/{_SECRET}": _object("Secret", _SECRET, encoded),
    }


def _object(kind: str, name: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}


def _handler(objects: dict[str, dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = objects.get(self.path)
            missing = {"apiVersion": "v1", "kind": "Status", "code": 404, "reason": "NotFound"}
            content = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing."""

    return Handler
