"""Speaks to Kubeflow Pipelines 2 (API v2beta1) through `kfp.Client`."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modules.errors import UserError
from modules.settings import KubeflowSettings
from pipeline.clusters.definitions import Definition
from pipeline.clusters.kfp_connection import Client, reason
from pipeline.clusters.remote import (
    RemotePipeline,
    RemoteRun,
    RemoteTask,
    libraries_silent,
    sentence,
    typed_parameters,
)

_PAGE = 100
_EQUALS = 1  # of the API's filters


class Kubeflow:
    """Kubeflow Pipelines as the command line sees it (`pipeline.clusters.remote.Server`)."""

    def __init__(self, settings: KubeflowSettings, debug: bool = False):
        """Connects.

        Raises:
          UserError: There is no endpoint, or it does not answer as Kubeflow Pipelines does.
        """
        self._debug = debug
        self._where = settings.endpoint or "the cluster"
        # Who signs in has to see what to do; otherwise the client says nothing of use.
        chatter: Any = sys.stderr if settings.iap_client_id else io.StringIO()
        with self._explained(), redirect_stdout(chatter), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._client = Client(
                host=settings.endpoint,
                client_id=settings.iap_client_id,
                namespace=settings.namespace or "kubeflow",
            )
        self._where = self._client.address

    def check_name(self, name: str, *, new: bool) -> None:
        """Refuses a new pipeline's name that is taken, and one to update that is not there."""
        if not new:
            self._existing(name)
        elif self._find(name):
            raise UserError(
                f"{self._where}: a pipeline {name!r} is there already; use "
                "`tfx-distill pipeline update`, or change the configuration's name"
            )

    def create(self, definition: Definition) -> RemotePipeline:
        """A new pipeline; its name must be free."""
        self.check_name(definition.name, new=True)
        with self._explained(), _file(definition) as path:
            pipeline = self._client.upload_pipeline(
                path, pipeline_name=definition.name, namespace=self._namespace
            )
        return _pipeline(pipeline)

    def update(self, definition: Definition) -> RemotePipeline:
        """A new version of a pipeline that is there."""
        pipeline = self._existing(definition.name)
        with self._explained(), _file(definition) as path:
            self._client.upload_pipeline_version(
                path,
                pipeline_version_name=_stamped(definition.name),
                pipeline_id=pipeline.pipeline_id,
            )
        return _pipeline(pipeline)

    def delete(self, name: str) -> None:
        """Deletes a pipeline with all its versions; its runs stay."""
        pipeline_id = self._existing(name).pipeline_id
        with self._explained():
            versions = list(self._versions(pipeline_id))
            for version in versions:
                self._client.delete_pipeline_version(pipeline_id, version.pipeline_version_id)
            self._client.delete_pipeline(pipeline_id)

    def pipelines(self) -> list[RemotePipeline]:
        """All pipelines, by name."""
        with self._explained():
            found = list(
                _pages(self._client.list_pipelines, "pipelines", namespace=self._namespace)
            )
        return sorted(map(_pipeline, found), key=lambda pipeline: pipeline.name)

    def submit(self, name: str, assignments: Sequence[str]) -> RemoteRun:
        """Runs the newest version in the experiment of the pipeline's name."""
        pipeline_id = self._existing(name).pipeline_id
        with self._explained():
            version = next(self._versions(pipeline_id), None)
            if version is None:
                raise UserError(
                    f"{self._where}: the pipeline {name!r} has no version; make one with "
                    "`tfx-distill pipeline update`"
                )
            # With a platform spec beside it, the pipeline's is one level deeper.
            spec = version.pipeline_spec.get("pipeline_spec", version.pipeline_spec)
            run = self._client.run_pipeline(
                experiment_id=self._client.create_experiment(name).experiment_id,
                job_name=_stamped(name),
                params=typed_parameters(spec, assignments),
                pipeline_id=pipeline_id,
                version_id=version.pipeline_version_id,
                pipeline_root=spec.get("defaultPipelineRoot"),
            )
        return self._run(run)

    def runs(self, name: str) -> list[RemoteRun]:
        """The runs of the experiment of the pipeline's name, newest first."""
        self._existing(name)
        with self._explained():
            experiments = self._client.list_experiments(filter=_named(name)).experiments
            return [
                self._run(run)
                for experiment in experiments or ()
                for run in _pages(
                    self._client.list_runs,
                    "runs",
                    sort_by="created_at desc",
                    experiment_id=experiment.experiment_id,
                )
            ]

    def status(self, run_id: str) -> RemoteRun:
        """One run with its nodes."""
        with self._explained():
            return self._run(self._client.get_run(run_id))

    def terminate(self, run_id: str) -> None:
        """Asks for the end of a run."""
        with self._explained():
            self._client.terminate_run(run_id)

    @property
    def _namespace(self) -> str | None:
        """Of a deployment with several users; otherwise there is none to send."""
        return self._client.get_user_namespace() or None

    def _find(self, name: str) -> Any:
        """`kfp.Client.get_pipeline_id` looks at the pipelines without a namespace only."""
        with self._explained():
            query = {"filter": _named(name), "namespace": self._namespace}
            return next(_pages(self._client.list_pipelines, "pipelines", **query), None)

    def _existing(self, name: str) -> Any:
        pipeline = self._find(name)
        if pipeline is None:
            raise UserError(
                f"{self._where}: there is no pipeline {name!r}; look at `tfx-distill pipeline "
                "list`, or create it with `tfx-distill pipeline create`"
            )
        return pipeline

    def _versions(self, pipeline_id: str) -> Iterator[Any]:
        """Newest first."""
        query = {"pipeline_id": pipeline_id, "sort_by": "created_at desc"}
        return _pages(self._client.list_pipeline_versions, "pipeline_versions", **query)

    def _run(self, run: Any) -> RemoteRun:
        details = run.run_details.task_details if run.run_details else None
        return RemoteRun(
            run_id=run.run_id,
            name=run.display_name,
            state=run.state or "PENDING",
            created=run.created_at,
            link=f"{self._client.pages}/#/runs/details/{run.run_id}",
            error=sentence(run.error.message) if run.error and run.error.message else "",
            tasks=tuple(
                RemoteTask(
                    task.display_name or task.task_id,
                    task.state or "PENDING",
                    sentence(task.error.message) if task.error and task.error.message else "",
                )
                for task in details or ()
            ),
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever goes wrong becomes one line; what the client prints is left out."""
        try:
            with libraries_silent(self._debug), redirect_stdout(io.StringIO()):
                yield
        except UserError:
            raise
        except Exception as error:  # the client raises its own, urllib3's, google.auth's and plain
            raise UserError(f"{self._where}: {reason(error)}") from error


def _pages(ask: Callable[..., Any], field: str, **query: Any) -> Iterator[Any]:
    token = ""
    while True:
        answer = ask(page_token=token, page_size=_PAGE, **query)
        yield from getattr(answer, field) or ()
        token = answer.next_page_token
        if not token:
            return


def _named(name: str) -> str:
    predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _pipeline(pipeline: Any) -> RemotePipeline:
    return RemotePipeline(pipeline.display_name, pipeline.pipeline_id, pipeline.created_at)


def _stamped(name: str) -> str:
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@contextmanager
def _file(definition: Definition) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pipeline.yaml")
        path.write_text(definition.text, encoding="utf-8")
        yield str(path)
