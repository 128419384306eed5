"""Speaks to Vertex AI Pipelines through `google.cloud.aiplatform`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modules.errors import ConfigError, UserError
from modules.settings import VertexSettings
from pipeline.clusters import vertex_store
from pipeline.clusters.definitions import Definition
from pipeline.clusters.remote import (
    ANSWER_SECONDS,
    RemotePipeline,
    RemoteRun,
    RemoteTask,
    libraries_silent,
    sentence,
    typed_parameters,
)

_REMEDIES = {
    401: "sign in with `gcloud auth application-default login`",
    403: "grant the account roles/aiplatform.user in --project, and enable the Vertex AI API",
    404: "look at `tfx-distill run list --engine vertex`, --project and --region",
    409: "wait a second and try again",
    503: "correct --region or try again",
    504: "try again",
}


class Vertex:
    """Vertex AI Pipelines as the command line sees it (`pipeline.clusters.remote.Server`)."""

    def __init__(self, settings: VertexSettings, debug: bool = False):
        self._settings = settings
        self._debug = debug

    def check_name(self, name: str, *, new: bool) -> None:
        """Refuses a new pipeline's name that is taken, and one to update that is not there."""
        vertex_store.check_name(name, new=new)

    def create(self, definition: Definition) -> RemotePipeline:
        """Keeps a definition; the name must be free."""
        return vertex_store.create(definition, self._settings)

    def update(self, definition: Definition) -> RemotePipeline:
        """Replaces a definition that is there."""
        return vertex_store.update(definition, self._settings)

    def delete(self, name: str) -> None:
        """Deletes a definition; its runs stay."""
        vertex_store.delete(name)

    def pipelines(self) -> list[RemotePipeline]:
        """All definitions, by name."""
        return vertex_store.pipelines()

    def submit(self, name: str, assignments: Sequence[str]) -> RemoteRun:
        """Submits the definition as a PipelineJob."""
        file = vertex_store.existing(name)
        document = json.loads(file.read_bytes())
        _check_root(document, file)
        values = typed_parameters(document["pipelineSpec"], assignments)
        project, region = self._place()
        settings = self._settings
        with self._explained():
            from google.cloud import aiplatform

            job = aiplatform.PipelineJob(
                display_name=name,
                template_path=str(file),
                parameter_values=values,
                # True would also answer from the cache what is compiled never to be.
                enable_caching=None if settings.caching else False,
                labels={**document.get("labels", {}), **settings.labels},
                project=project,
                location=region,
            )
            # Not `job.submit`: before it sends anything it asks two other services about the
            # bucket, for minutes where they are out of reach, creates it and grants roles on it.
            message = job._gca_resource
            message.service_account = settings.service_account or ""
            message.network = settings.network or ""
            created = job.api_client.create_pipeline_job(
                parent=self._parent(),
                pipeline_job=message,
                pipeline_job_id=job.job_id,
                timeout=ANSWER_SECONDS,
            )
            return _run(created)

    def runs(self, name: str) -> list[RemoteRun]:
        """The runs of a pipeline, newest first."""
        request = {
            "parent": self._parent(),
            "filter": f'pipeline_name="{vertex_store.directory(name).name}"',
            "order_by": "create_time desc",
        }
        with self._explained():
            jobs = self._client().list_pipeline_jobs(request=request, timeout=ANSWER_SECONDS)
            return [_run(job) for job in jobs]

    def status(self, run_id: str) -> RemoteRun:
        """One run with its nodes."""
        name = self._resource(run_id)
        with self._explained():
            return _run(self._client().get_pipeline_job(name=name, timeout=ANSWER_SECONDS))

    def terminate(self, run_id: str) -> None:
        """Asks for the end of a run."""
        name = self._resource(run_id)
        with self._explained():
            self._client().cancel_pipeline_job(name=name, timeout=ANSWER_SECONDS)

    def _place(self) -> tuple[str, str]:
        project, region = self._settings.project, self._settings.region
        for name, value in (("project", project), ("region", region)):
            if not value:
                raise ConfigError(
                    f"--{name} must be given for Vertex AI; give it or set runtime.vertex.{name}"
                )
        return str(project), str(region)

    def _parent(self) -> str:
        return "projects/{}/locations/{}".format(*self._place())

    def _resource(self, run_id: str) -> str:
        """The whole name of a run; a whole name says its own project and region."""
        parts = run_id.split("/")
        if len(parts) == 6 and parts[::2] == ["projects", "locations", "pipelineJobs"]:
            place = {"project": parts[1], "region": parts[3]}
            self._settings = self._settings.model_copy(update=place)
            return run_id
        if len(parts) != 1 or not run_id:
            raise ConfigError(
                "--run_id must be a run's id or projects/PROJECT/locations/REGION/pipelineJobs/ID, "
                f"got {run_id!r}; `tfx-distill run list` shows the ids"
            )
        return f"{self._parent()}/pipelineJobs/{run_id}"

    def _client(self) -> Any:
        """PipelineJob's own client: its methods take a timeout, PipelineJob's take none."""
        from google.cloud import aiplatform
        from google.cloud.aiplatform import initializer

        return initializer.global_config.create_client(
            aiplatform.PipelineJob.client_class, location_override=self._place()[1]
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever goes wrong becomes one line."""
        try:
            with libraries_silent(self._debug):
                yield
        except UserError:
            raise
        except Exception as error:  # google.api_core's, google.auth's, requests' and plain errors
            where = "Vertex AI {}/{}".format(*self._place())
            raise UserError(f"{where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    if isinstance(error, GoogleAPICallError):
        code = int(error.code) if error.code else 0
        message = f"refuses with {code} {type(error).__name__}: {sentence(error.message)}"
        return f"{message}; {_REMEDIES[code]}" if code in _REMEDIES else message
    if isinstance(error, GoogleAuthError):
        return f"there are no credentials that it takes: {sentence(error)}; {_REMEDIES[401]}"
    if isinstance(error, requests.Timeout):
        return f"has not answered within {ANSWER_SECONDS:.0f} s; {_REMEDIES[504]}"
    if isinstance(error, requests.RequestException):
        return f"cannot be reached ({sentence(error)}); {_REMEDIES[503]}"
    return f"{type(error).__name__}: {sentence(error)}"


def _check_root(document: dict[str, Any], file: Path) -> None:
    root = document["pipelineSpec"].get("defaultPipelineRoot")
    root = root or document.get("runtimeConfig", {}).get("gcsOutputDirectory")
    if not str(root).startswith("gs://"):
        raise ConfigError(
            f"{file}: the pipeline root must be a gs:// URL for Vertex AI, got {root!r}; compile "
            "it with another runtime.pipeline_root"
        )


def _run(job: Any) -> RemoteRun:
    _, project, _, region, _, run_id = job.name.split("/")
    return RemoteRun(
        run_id=run_id,
        name=job.display_name,
        state=job.state.name,
        created=job.create_time,
        link=f"https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/runs/"
        f"{run_id}?project={project}",
        error=sentence(job.error.message) if job.error.message else "",
        tasks=tuple(
            RemoteTask(
                task.task_name,
                task.state.name,
                sentence(task.error.message) if task.error.message else "",
            )
            for task in job.job_detail.task_details
        ),
    )
