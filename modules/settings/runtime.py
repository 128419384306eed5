"""`runtime`: where and on what the pipeline runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from modules.settings.base import Settings, Strategy, of_pattern

Role = Literal["trainer", "evaluator", "default"]
Place = Literal["local", "kubeflow", "vertex"]

_Bytes = Annotated[
    str,
    of_pattern(
        r"^[1-9][0-9]*(\.[0-9]+)?(K|M|G|T|Ki|Mi|Gi|Ti)?$",
        "must be a number of bytes, such as 500M or 16Gi",
    ),
]
_Option = Annotated[
    str,
    of_pattern(r"^--[a-zA-Z]", "must be an option of Beam, such as --machine_type=n1-standard-4"),
]


class ResourceSettings(Settings):
    """What a node's machine must have. A key that is left out is the engine's default."""

    cpu: float | None = Field(None, gt=0, le=1024, description="cores")
    memory: _Bytes | None = Field(None, description="for example `16Gi`")
    accelerator: str | None = Field(
        None, min_length=1, description="the engine's name for it, for example `NVIDIA_TESLA_T4`"
    )
    accelerator_count: int = Field(1, ge=1, le=64, description="accelerators per machine")
    spot: bool = Field(False, description="use a cheaper machine that may be preempted")
    replicas: int = Field(
        1, ge=1, le=1000, description="machines that train together; `trainer` on Vertex AI only"
    )
    machine_type: str | None = Field(
        None,
        min_length=1,
        description="machine type of a CustomJob, for example `n1-standard-8`; `trainer` on Vertex "
        "AI only",
    )
    retries: int = Field(2, ge=0, le=100, description="how often a failed node is tried again")
    timeout_minutes: float | None = Field(
        None, gt=0, le=100_000, description="time limit of one try; null: none"
    )


class BeamSettings(Settings):
    """Which Beam runner executes the data-parallel nodes."""

    runner: Literal["in_memory", "multi_processing", "dataflow", "flink", "spark", "portable"] = (
        Field(
            "in_memory",
            description="in the node's own process, in several processes, or on a cluster "
            "(docs/beam.md)",
        )
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="null: 1 in memory, one per core in processes, the service's choice elsewhere",
    )
    options: tuple[_Option, ...] = Field(
        (),
        validate_default=True,
        description="further options of Beam, for example `--machine_type=n1-standard-4`",
    )
    soft_targets: bool = Field(
        False,
        description="whether the teachers answer on Beam's workers; otherwise in the node "
        "SoftTargets, on its accelerator",
    )

    @field_validator("workers")
    @classmethod
    def _memory_has_one_worker(cls, workers: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("runner") == "in_memory" and workers not in (None, 1):
            raise ValueError(
                f"must be 1 with the runner in_memory, got {workers}; set runner: multi_processing"
            )
        return workers

    @field_validator("options")
    @classmethod
    def _portable_has_a_job_service(
        cls, options: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        if info.data.get("runner") == "portable" and not any(
            option.startswith("--job_endpoint=") for option in options
        ):
            raise ValueError(
                "must name the job service with the runner portable, got "
                f"{list(options)}; add --job_endpoint=HOST:PORT"
            )
        return options


class VertexSettings(Settings):
    """Where Vertex AI Pipelines runs the pipeline, and under which account."""

    project: str | None = Field(None, min_length=1, description="Google Cloud project")
    region: str | None = Field(None, min_length=1, description="for example `europe-west4`")
    service_account: str | None = Field(
        None, min_length=1, description="account that the nodes run as; null: the project's default"
    )
    network: str | None = Field(
        None, min_length=1, description="`projects/NUMBER/global/networks/NAME`; null: none"
    )
    labels: dict[str, str] = Field({}, description="labels of the run, for example for billing")
    caching: bool = Field(True, description="reuse the results of earlier runs")


class KubeflowSettings(Settings):
    """The server of Kubeflow Pipelines."""

    endpoint: str | None = Field(None, min_length=1, description="URL of its API")
    namespace: str | None = Field(None, min_length=1, description="Kubernetes namespace")
    iap_client_id: str | None = Field(
        None, min_length=1, description="OAuth client ID, behind an Identity-Aware Proxy"
    )


class RuntimeSettings(Settings):
    """Where and how the pipeline is executed."""

    image: str | None = Field(
        None, min_length=1, description="container image with this code; on clusters"
    )
    pipeline_root: str | None = Field(
        None,
        min_length=1,
        description="where artifacts are kept, for example `gs://bucket/path`; on clusters",
    )
    resources: dict[Role, ResourceSettings] = Field(
        {},
        description="machines by role; `trainer` and `evaluator` inherit from `default`",
    )
    beam: dict[Place, BeamSettings] = Field(
        {}, description="Beam's runner by place; in memory by default"
    )
    strategy: Strategy = Field(
        "auto",
        description="`auto`: one device; `mirrored`: all GPUs of a machine; `multi_worker`: the "
        "workers that TF_CONFIG names",
    )
    checkpoint_seconds: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="least time between two saves of a training's state, in seconds",
    )
    vertex: VertexSettings = VertexSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    @field_validator("resources")
    @classmethod
    def _only_trainers_have_replicas(
        cls, resources: dict[Role, ResourceSettings]
    ) -> dict[Role, ResourceSettings]:
        for role in ("default", "evaluator"):
            settings = resources.get(role)
            for key in ("machine_type", "replicas"):
                if settings and key in settings.model_fields_set:
                    raise ValueError(
                        f"{role}.{key} must not be set, since only trainers run on several "
                        f"machines or as a CustomJob; set runtime.resources.trainer.{key}"
                    )
        return resources

    def resources_of(self, role: Role) -> ResourceSettings:
        """What a role is given: its own keys, then those of default."""
        inherited = self.resources.get("default", ResourceSettings())
        own = self.resources.get(role, ResourceSettings())
        return inherited.model_copy(update=own.model_dump(exclude_unset=True))
