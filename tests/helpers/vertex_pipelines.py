"""Vertex AI Pipelines on the loopback interface, which accepts what the service accepts.

Requests are parsed into the published messages, and a PipelineJob's specification into the
PipelineSpec message.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from vertex_server import PARENT, error_answer, serving

_TYPES: dict[str, type | tuple[type, ...]] = {
    "STRING": str,
    # A Struct of protocol buffers has no whole numbers.
    "NUMBER_INTEGER": float,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
}


class Jobs:
    """PipelineJobs by id, and how the service is to misbehave."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.url = ""
        self.refusal: tuple[int, str, str] | None = None
        self.delay = 0.0
        self._clock = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, Any]]:
        time.sleep(self.delay)
        parts = urlsplit(url)
        path = unquote(parts.path)
        if self.refusal:
            return error_answer(*self.refusal)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match = re.fullmatch(f"/v1/{PARENT}/pipelineJobs(?:/([^/:]+))?(?::([a-z]+))?", path)
        assert match, f"another project, region or resource: {url}"
        job_id, verb = match.groups()
        if not job_id:
            return self._create(query, body) if method == "POST" else self._list(query)
        if job_id not in self.jobs:
            return error_answer(404, "NOT_FOUND", f"PipelineJob {job_id} not found")
        if verb:
            return self._cancel(job_id, verb)
        return 200, _as_json(self.jobs[job_id])

    def _create(self, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        from google.cloud.aiplatform_v1.types import PipelineJob, PipelineState

        job = PipelineJob.from_json(body.decode(), ignore_unknown_fields=False)
        check(job)
        job_id = query["pipelineJobId"]
        assert re.fullmatch("[a-z][-a-z0-9]{0,127}", job_id), job_id
        if job_id in self.jobs:
            return error_answer(409, "ALREADY_EXISTS", f"PipelineJob {job_id} exists")
        self._clock += timedelta(seconds=1)
        job.name = f"{PARENT}/pipelineJobs/{job_id}"
        job.state = PipelineState.PIPELINE_STATE_PENDING
        job.create_time = self._clock
        self.jobs[job_id] = job
        return 200, _as_json(job)

    def _list(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Two at a time, so that a client that reads one page only is found out."""
        assert set(query) <= {"filter", "orderBy", "pageSize", "pageToken", "$alt"}, query
        found = sorted(self.jobs.values(), key=lambda job: job.create_time, reverse=True)
        if "filter" in query:
            assert query["orderBy"] == "create_time desc"
            match = re.fullmatch('pipeline_name="([^"]+)"', query["filter"])
            assert match, query
            found = [job for job in found if _name(job) == match[1]]
        start = int(query.get("pageToken", 0))
        answer: dict[str, Any] = {
            "pipelineJobs": [_as_json(job) for job in found[start : start + 2]],
        }
        if start + 2 < len(found):
            answer["nextPageToken"] = str(start + 2)
        return 200, answer

    def _cancel(self, job_id: str, verb: str) -> tuple[int, dict[str, Any]]:
        from google.cloud.aiplatform_v1.types import PipelineState

        assert verb == "cancel"
        job = self.jobs[job_id]
        if job.state == PipelineState.PIPELINE_STATE_CANCELLING:
            return error_answer(400, "FAILED_PRECONDITION", f"PipelineJob {job_id} is cancelling")
        job.state = PipelineState.PIPELINE_STATE_CANCELLING
        return 200, {}


def check(job: Any) -> None:
    """What the service says about a PipelineJob beyond its message."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    sent = json_format.MessageToDict(job._pb)
    spec = json_format.ParseDict(sent["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version in ("2.0.0", "2.1.0") and spec.pipeline_info.name
    assert spec.root.dag.tasks and job.display_name and len(job.display_name) <= 128
    assert job.runtime_config.gcs_output_directory.startswith("gs://")
    for name, value in sent["runtimeConfig"].get("parameterValues", {}).items():
        assert name in spec.root.input_definitions.parameters, name
        parameter = spec.root.input_definitions.parameters[name]
        kind = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(parameter.parameter_type)
        assert isinstance(value, _TYPES[kind]), (name, value)
    for key, value in job.labels.items():
        assert re.fullmatch("[a-z][a-z0-9_-]{0,62}", key), key
        assert re.fullmatch("[a-z0-9_-]{0,63}", value), value
    if job.service_account:
        assert re.fullmatch(r"[^@\s]+@[a-z0-9.-]+", job.service_account), job.service_account
    if job.network:
        assert re.fullmatch(r"projects/\d+/global/networks/[a-z0-9-]+", job.network), job.network


@contextmanager
def serve() -> Iterator[Jobs]:
    """A service that the client speaks to until the end of the block."""
    jobs = Jobs()
    with serving(jobs) as jobs.url:
        yield jobs


def _name(job: Any) -> str:
    return str(json.loads(type(job).to_json(job))["pipelineSpec"]["pipelineInfo"]["name"])


def _as_json(job: Any) -> dict[str, Any]:
    return dict(json.loads(type(job).to_json(job)))
