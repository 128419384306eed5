"""Kubeflow Pipelines on the loopback interface: the v2beta1 routes that the command line uses.

Requests are held against the published API: bodies against the models of `kfp_server_api`, queries
against the parameters that its methods document, an uploaded file against the PipelineSpec message.
Answers have no field that those of KFP's own server have not: see `test_kfp_api_recorded.py`.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import kfp_server_api
import yaml

API = "/apis/v2beta1"
_PRIMITIVES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "object": object,
    "datetime": str,
}
# What google.rpc calls the HTTP statuses that are used here.
_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
_PARAMETER_TYPES: dict[str, type | tuple[type, ...]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, kind: str = "application/json"):
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind

    def body(self) -> str:
        if self.kind != "application/json":
            return self.message
        status = {"@type": "type.googleapis.com/google.rpc.Status"}
        told = {"code": _GRPC_CODES.get(self.status, 2), "message": self.message}
        return json.dumps({**told, "details": [{**status, **told}]})


class KfpServer:
    """What the API server keeps, by id, and how it is to misbehave."""

    def __init__(self) -> None:
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.url = ""
        self.multi_user = False
        self.answers: RefusalError | None = None
        self.fails_after_health = False
        self.delay = 0.0
        self.requests: list[str] = []
        self._clock = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> dict[str, Any]:
        parts = urlsplit(url)
        path = unquote(parts.path).removeprefix(API)
        self.requests.append(f"{method} {path}")
        time.sleep(self.delay)
        if self.answers and not (self.fails_after_health and path == "/healthz"):
            raise self.answers
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        for pattern, verb, handle, documented in self._routes():
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                check_query(query, documented)
                in_namespace = "namespace" in _documented(documented)
                if self.multi_user and in_namespace and "experiment_id" not in query:
                    _require(query.get("namespace"), 400, "namespace is empty")
                return handle(*match.groups(), query=query, body=body, headers=headers) or {}
        raise RefusalError(404, f"no such route: {method} {url}")

    def _routes(self) -> list[tuple[str, str, Any, Any]]:
        pipelines, runs = kfp_server_api.PipelineServiceApi, kfp_server_api.RunServiceApi
        uploads = kfp_server_api.PipelineUploadServiceApi
        experiments = kfp_server_api.ExperimentServiceApi
        one, version = "/pipelines/([^/:]+)", "/pipelines/([^/:]+)/versions/([^/:]+)"
        return [
            ("/healthz", "GET", self._health, None),
            ("/pipelines/upload", "POST", self._upload, uploads.upload_pipeline),
            (
                "/pipelines/upload_version",
                "POST",
                self._upload_version,
                uploads.upload_pipeline_version,
            ),
            ("/pipelines", "GET", self._list_pipelines, pipelines.pipeline_service_list_pipelines),
            (one, "DELETE", self._delete_pipeline, pipelines.pipeline_service_delete_pipeline),
            (
                f"{one}/versions",
                "GET",
                self._list_versions,
                pipelines.pipeline_service_list_pipeline_versions,
            ),
            (version, "DELETE", self._delete_version, None),
            (
                "/experiments",
                "GET",
                self._list_experiments,
                experiments.experiment_service_list_experiments,
            ),
            ("/experiments", "POST", self._create_experiment, None),
            ("/runs", "GET", self._list_runs, runs.run_service_list_runs),
            ("/runs", "POST", self._create_run, runs.run_service_create_run),
            ("/runs/([^/:]+)", "GET", self._get_run, runs.run_service_get_run),
            ("/runs/([^/:]+):terminate", "POST", self._terminate, None),
        ]

    def _health(self, **_: Any) -> dict[str, Any]:
        return {"multi_user": self.multi_user, "pipeline_store": "database"}

    def _upload(self, query: dict[str, str], body: bytes, headers: Any) -> dict[str, Any]:
        spec = uploaded_spec(body, headers)
        taken = [each["display_name"] for each in self.pipelines.values()]
        _require(query["name"] not in taken, 409, f"The name {query['name']} already exist")
        pipeline = {
            "pipeline_id": str(uuid.uuid4()),
            "display_name": query["name"],
            "created_at": self._now(),
        }
        if query.get("namespace"):
            pipeline["namespace"] = query["namespace"]
        self.pipelines[pipeline["pipeline_id"]] = pipeline
        self._add_version(pipeline["pipeline_id"], query["name"], spec)
        return pipeline

    def _upload_version(self, query: dict[str, str], body: bytes, headers: Any) -> dict[str, Any]:
        spec = uploaded_spec(body, headers)
        _require(query["pipelineid"] in self.pipelines, 404, "no such pipeline")
        return self._add_version(query["pipelineid"], query["name"], spec)

    def _add_version(self, pipeline_id: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        version = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "created_at": self._now(),
            "pipeline_spec": spec,
        }
        self.versions[version["pipeline_version_id"]] = version
        return version

    def _list_pipelines(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        found = [
            each
            for each in self.pipelines.values()
            if each.get("namespace", "") == query.get("namespace", "")
        ]
        return page("pipelines", found, query)

    def _list_versions(self, pipeline_id: str, query: dict[str, str], **_: Any) -> dict[str, Any]:
        found = [each for each in self.versions.values() if each["pipeline_id"] == pipeline_id]
        return page("pipeline_versions", found, query)

    def _delete_pipeline(self, pipeline_id: str, **_: Any) -> None:
        _require(pipeline_id in self.pipelines, 404, "no such pipeline")
        left = [each for each in self.versions.values() if each["pipeline_id"] == pipeline_id]
        _require(not left, 400, "the pipeline has existing pipeline versions")
        del self.pipelines[pipeline_id]

    def _delete_version(self, pipeline_id: str, version_id: str, **_: Any) -> None:
        found = self.versions.get(version_id, {}).get("pipeline_id") == pipeline_id
        _require(found, 404, "no such version")
        del self.versions[version_id]

    def _list_experiments(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        return page("experiments", list(self.experiments.values()), query)

    def _create_experiment(self, body: bytes, **_: Any) -> dict[str, Any]:
        sent = checked("V2beta1Experiment", json.loads(body))
        _require(sent.get("namespace") or not self.multi_user, 400, "namespace is empty")
        names = [each["display_name"] for each in self.experiments.values()]
        _require(sent["display_name"] not in names, 409, "experiment exists")
        sent = {key: value for key, value in sent.items() if value}
        experiment = {**sent, "experiment_id": str(uuid.uuid4()), "created_at": self._now()}
        self.experiments[experiment["experiment_id"]] = experiment
        return experiment

    def _create_run(self, body: bytes, **_: Any) -> dict[str, Any]:
        sent = checked("V2beta1Run", json.loads(body))
        _require(sent["experiment_id"] in self.experiments, 404, "no such experiment")
        reference = sent["pipeline_version_reference"]
        version = self.versions.get(reference["pipeline_version_id"], {})
        _require(version.get("pipeline_id") == reference["pipeline_id"], 404, "no such version")
        check_parameters(version["pipeline_spec"], sent["runtime_config"].get("parameters", {}))
        run = {
            **sent,
            "run_id": str(uuid.uuid4()),
            "created_at": self._now(),
            "state": "PENDING",
        }
        self.runs[run["run_id"]] = run
        return run

    def _list_runs(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        found = [
            each
            for each in self.runs.values()
            if each["experiment_id"] == query.get("experiment_id", each["experiment_id"])
        ]
        return page("runs", found, query)

    def _get_run(self, run_id: str, **_: Any) -> dict[str, Any]:
        _require(run_id in self.runs, 404, f"run {run_id} not found")
        return self.runs[run_id]

    def _terminate(self, run_id: str, **_: Any) -> None:
        run = self._get_run(run_id)
        _require(run["state"] in ("PENDING", "RUNNING"), 400, f"run is {run['state']}")
        run["state"] = "CANCELING"

    def _now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.isoformat().replace("+00:00", "Z")


def checked(kind: str, value: Any) -> Any:
    """The value, if it is one of a model's, a list's or a primitive type's of the API."""
    if kind.startswith("list["):
        assert isinstance(value, list), (kind, value)
        return [checked(kind[5:-1], each) for each in value]
    if kind.startswith("dict(str, "):
        assert isinstance(value, dict), (kind, value)
        return {key: checked(kind[10:-1], each) for key, each in value.items()}
    if kind in _PRIMITIVES:
        assert isinstance(value, _PRIMITIVES[kind]), (kind, value)
        return value
    model = getattr(kfp_server_api, kind)
    if hasattr(model, "allowable_values"):
        # Protocol buffers' JSON has enumerations by name or by number.
        numbers = range(len(model.allowable_values))
        assert value in model.allowable_values or value in numbers, (kind, value)
        return value
    types = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
    assert isinstance(value, dict), (kind, value)
    unknown = set(value) - set(types)
    assert not unknown, f"{kind} has no {sorted(unknown)}"
    return {key: checked(types[key], each) for key, each in value.items()}


def check_query(query: dict[str, str], method: Any) -> None:
    unknown = set(query) - _documented(method)
    assert not unknown, f"no such query parameters: {sorted(unknown)}"
    if query.get("sort_by"):
        assert re.fullmatch("[a-z_]+( asc| desc)?", query["sort_by"]), query
    if query.get("page_size"):
        assert 0 < int(query["page_size"]) <= 200, query


def _documented(method: Any) -> set[str]:
    return set(re.findall(r":param ([a-z]\w*):", method.__doc__)) if method else set()


def page(field: str, found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """Two at a time, so that a client that reads one page only is found out."""
    if query.get("filter"):
        snake = {"stringValue": "string_value"}
        sent = json.loads(query["filter"])["predicates"]
        predicates = [{snake.get(key, key): value for key, value in each.items()} for each in sent]
        for each in checked("V2beta1Filter", {"predicates": predicates})["predicates"]:
            assert each["operation"] in (1, "EQUALS"), each
            found = [item for item in found if item[each["key"]] == each["string_value"]]
    if query.get("sort_by"):
        key, _, order = query["sort_by"].partition(" ")
        found = sorted(found, key=lambda item: item[key], reverse=order == "desc")
    start = int(query.get("page_token") or 0)
    size = min(2, int(query.get("page_size") or 2))
    if not found:
        return {}  # JSON of protocol buffers leaves out what is empty.
    answer: dict[str, Any] = {field: found[start : start + size], "total_size": len(found)}
    if start + size < len(found):
        answer["next_page_token"] = str(start + size)
    return answer


def uploaded_spec(body: bytes, headers: Any) -> dict[str, Any]:
    """The pipeline spec of a multipart body, as a version of the API shows it."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    (part,) = message.iter_parts()
    assert part.get_param("name", header="content-disposition") == "uploadfile"
    assert str(part.get_filename()).endswith((".yaml", ".yml", ".zip", ".tar.gz"))
    documents = list(yaml.safe_load_all(part.get_payload(decode=True)))
    try:
        spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        for platform in documents[1:]:
            json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise RefusalError(400, f"Invalid pipeline spec: {error}") from error
    _require(spec.schema_version == "2.1.0", 400, f"schema version {spec.schema_version}")
    _require(len(documents) <= 2, 400, "more than one platform spec")
    if len(documents) == 1:
        return dict(documents[0])
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def check_parameters(document: dict[str, Any], values: dict[str, Any]) -> None:
    spec = document.get("pipeline_spec", document)
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in values.items():
        _require(name in known, 400, f"parameter {name} is not in the pipeline")
        type_ = known[name]["parameterType"]
        fits = isinstance(value, _PARAMETER_TYPES[type_])
        _require(fits, 400, f"parameter {name} requires {type_}, got {value!r}")
    for name, definition in known.items():
        given = name in values or "defaultValue" in definition or definition.get("isOptional")
        _require(given, 400, f"parameter {name} is not set")


def _require(condition: Any, status: int, message: str) -> None:
    if not condition:
        raise RefusalError(status, message)


@contextmanager
def serve() -> Iterator[KfpServer]:
    """A server until the end of the block."""
    kubeflow = KfpServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, kind = 200, "application/json"
            try:
                answer = json.dumps(kubeflow.answer(self.command, self.path, self.headers, body))
            except RefusalError as refusal:
                status, kind, answer = refusal.status, refusal.kind, refusal.body()
            except Exception as error:  # noqa: BLE001 - the client is told, and the test with it
                refusal = RefusalError(400, f"{type(error).__name__}: {error}")
                status, answer = 400, refusal.body()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: Any) -> None:
            pass

    Handler.do_POST = Handler.do_DELETE = Handler.do_GET
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    kubeflow.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kubeflow
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
