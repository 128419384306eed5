"""The local Kubeflow server against what KFP's own one answered to the same requests.

`tests/recorded/kfp_api.json` has the requests of `tfx-distill pipeline` and `tfx-distill run`, and
the answers of KFP's API server, release 2.16.1, with MariaDB and SeaweedFS. Pipeline specs are left
out.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import kfp_server
from kfp_records import recorded
from kfp_server import API
from small_spec import spec

_IDS = ("pipeline_id", "pipeline_version_id", "experiment_id", "run_id")


def test_the_local_server_answers_as_kubeflows_own() -> None:
    exchanges: Any = recorded("kfp_api")
    theirs_to_ours: dict[str, str] = {}
    with kfp_server.serve() as server:
        for exchange in exchanges:
            sent = json.dumps([exchange["path"], exchange["query"], exchange["body"]])
            for theirs, ours in theirs_to_ours.items():
                sent = sent.replace(theirs, ours)
            path, query, body = json.loads(sent)
            status, answer = ask(server.url, exchange["method"], path, query, body)
            where = f"{exchange['method']} {exchange['path']}"
            assert status == exchange["status"], where
            assert_no_new_fields(answer, exchange["answer"], where)
            theirs_to_ours |= dict(ids(exchange["answer"], answer))
    assert len(theirs_to_ours) == 6  # a pipeline, its versions, an experiment, two runs


def ask(url: str, method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
    kind, data = "application/json", None if body is None else json.dumps(body).encode()
    if body == "<multipart/form-data>":
        kind, data = "multipart/form-data; boundary=x", multipart(json.dumps(uploaded()))
    request = Request(
        f"{url}{API}{path}?{urlencode(query)}", data, {"content-type": kind}, method=method
    )
    try:
        with urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def uploaded() -> dict[str, Any]:
    found = spec()
    text = {"parameterType": "STRING", "defaultValue": ""}
    found["root"]["inputDefinitions"]["parameters"]["push_destination"] = text
    return found


def multipart(text: str) -> bytes:
    head = 'content-disposition: form-data; name="uploadfile"; filename="x.yaml"'
    return f"--x\r\n{head}\r\n\r\n{text}\r\n--x--\r\n".encode()


def assert_no_new_fields(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(ours, dict):
        assert isinstance(theirs, dict) and set(ours) <= set(theirs), where
        for name in set(ours) - {"pipeline_spec", "parameters"}:
            assert_no_new_fields(ours[name], theirs[name], f"{where} {name}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for one, other in zip(ours, theirs, strict=True):
            assert_no_new_fields(one, other, where)
    else:
        assert type(ours) is type(theirs), where


def ids(theirs: Any, ours: Any) -> Any:
    """Pairs of what names the same thing on both servers."""
    for name in _IDS:
        if name in theirs:
            yield theirs[name], ours[name]
    if "pipeline_versions" in theirs:
        for one, other in zip(theirs["pipeline_versions"], ours["pipeline_versions"], strict=True):
            yield from ids(one, other)
