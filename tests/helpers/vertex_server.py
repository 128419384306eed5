"""A Model Registry on the loopback interface, which accepts what Vertex AI accepts."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

PARENT = "projects/acme/locations/europe-west4"


class Registry:
    """Models by id, each with its versions; requests are parsed into the published messages."""

    def __init__(self) -> None:
        self.models: dict[str, list[Any]] = {}
        self.uploads = 0
        self.refuses = 0  # so many requests from now on
        self.broken_operations = 0

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(url)
        path = unquote(parts.path).removeprefix(f"/v1/{PARENT}/models")
        assert path != unquote(parts.path), f"another project or region: {url}"
        if self.refuses:
            self.refuses -= 1
            return error_answer(
                403, "PERMISSION_DENIED", "aiplatform.models.upload\nis not allowed"
            )
        if method == "POST" and path == ":upload":
            return self.upload(body)
        model_id, _, verb = path.removeprefix("/").partition(":")
        model_id = model_id.partition("@")[0]
        if model_id not in self.models:
            return error_answer(404, "NOT_FOUND", f"there is no model {model_id}")
        if verb == "listVersions":
            return 200, {"models": self.filtered(model_id, parse_qs(parts.query)["filter"][0])}
        return 200, _as_json(self.models[model_id][-1])

    def upload(self, body: bytes) -> tuple[int, dict[str, Any]]:
        from google.cloud.aiplatform_v1.types import UploadModelRequest

        request = UploadModelRequest.from_json(body.decode(), ignore_unknown_fields=False)
        model = request.model
        if request.parent_model:
            model_id = request.parent_model.removeprefix(f"{PARENT}/models/")
            assert model_id in self.models and not request.model_id
        else:
            model_id = request.model_id
            assert re.fullmatch("[a-z_][a-z0-9_-]{0,62}", model_id), model_id
            assert model_id not in self.models
        assert model.artifact_uri.startswith("gs://") and model.container_spec.image_uri
        assert len(model.labels) <= 64
        for key, value in model.labels.items():
            assert re.fullmatch("[a-z][a-z0-9_-]{0,62}", key), key
            assert re.fullmatch("[a-z0-9_-]{0,63}", value), value
        for alias in model.version_aliases:
            assert re.fullmatch("[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]", alias), alias
        if self.broken_operations:
            self.broken_operations -= 1
            broken = {"code": 9, "message": "the image cannot be pulled"}
            return 200, {"name": f"{PARENT}/operations/1", "done": True, "error": broken}
        self.uploads += 1
        versions = self.models.setdefault(model_id, [])
        model.name, model.version_id = f"{PARENT}/models/{model_id}", str(len(versions) + 1)
        versions.append(model)
        response = {
            "@type": "type.googleapis.com/google.cloud.aiplatform.v1.UploadModelResponse",
            "model": model.name,
            "modelVersionId": model.version_id,
        }
        return 200, {"name": f"{PARENT}/operations/1", "done": True, "response": response}

    def filtered(self, model_id: str, expression: str) -> list[dict[str, Any]]:
        match = re.fullmatch('labels\\.([a-z_]+)="([a-z0-9_-]*)"', expression)
        assert match, expression
        key, value = match.groups()
        return [_as_json(m) for m in self.models[model_id] if m.labels.get(key) == value]


@contextmanager
def serve() -> Iterator[Registry]:
    """A registry that the client speaks to until the end of the block."""
    registry = Registry()
    with serving(registry):
        yield registry


class Service(Protocol):
    """What answers requests."""

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, Any]]: ...


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """A service that the client speaks to until the end of the block; yields its URL."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                code, content = service.answer(self.command, self.path, body)
            except Exception as error:  # noqa: BLE001 - the client is told, and the test with it
                code, content = error_answer(
                    400, "INVALID_ARGUMENT", f"{type(error).__name__}: {error}"
                )
            answer = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    Handler.do_POST = Handler.do_GET
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        aiplatform.init(
            project="another",
            location="us-central1",
            credentials=AnonymousCredentials(),
            api_endpoint=url,
            api_transport="rest",
        )
        yield url
    finally:
        aiplatform.initializer.global_config.__init__()
        server.shutdown()
        server.server_close()
        thread.join()


def _as_json(model: Any) -> dict[str, Any]:
    return dict(json.loads(type(model).to_json(model)))


def error_answer(code: int, status: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"error": {"code": code, "status": status, "message": message}}
