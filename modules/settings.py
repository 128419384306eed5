"""The leaf configurations, one for each part of `modules` that consumes one.

They are pydantic models and import nothing heavy, so that a configuration is validated before
TensorFlow or TFX is loaded. `pipeline.config.PipelineConfig` composes them. Executors receive
them as JSON (`model_dump_json`) and read them back with `model_validate_json`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    field_validator,
    model_validator,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]
TFLiteVariant = Literal["float32", "float16", "dynamic_range", "int8"]
Interval = tuple[FiniteFloat, FiniteFloat]
MOST_TEACHERS = 8


class Settings(BaseModel):
    """Base of every configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Settings):
    """Where the examples come from and what `Transform` makes of them."""

    source: str = Field("digits", description="digits (embedded, 8x8 grey) or image_folder")
    path: str | None = Field(None, description="image_folder: directory of class sub-folders")
    image_size: int = Field(8, ge=1, description="height and width after resizing, in pixels")
    channels: Literal[1, 3] = Field(1, description="1 (grey) or 3 (RGB)")
    eval_fraction: Fraction = Field(0.2, description="share of examples kept for judging only")
    validation_fraction: Fraction = Field(
        0.1, description="share of the training split held out for early stopping"
    )
    split_seed: int = Field(0, ge=0, lt=2**53, description="another seed, another train/eval split")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one transformed example, `(height, width, channels)`, dtype uint8."""
        return (self.image_size, self.image_size, self.channels)


class TrainSettings(Settings):
    """One training run: AdamW, best weights by validation loss."""

    epochs: int = Field(30, ge=0, description="upper bound; 0 keeps the weights as built")
    batch_size: int = Field(64, ge=1, description="examples per step, over all workers")
    mixed_precision: bool = Field(False, description="compute in float16 on a GPU")
    learning_rate: float = Field(1e-3, gt=0, description="initial rate of AdamW")
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="constant, or cosine decay to zero over all epochs"
    )
    weight_decay: float = Field(1e-4, ge=0, description="decoupled weight decay of AdamW")
    patience: int = Field(
        10, ge=1, description="epochs without a better validation loss before stopping"
    )


class ModelSettings(Settings):
    """A builder, its parameters, and how the model is trained."""

    model: str = Field(description="a name of the model zoo, or package.module:function")
    parameters: dict[str, Any] = Field(default_factory=dict, description="passed to the builder")
    train: TrainSettings = Field(default_factory=lambda: TrainSettings())


class TeacherSettings(ModelSettings):
    """A teacher; with several of them, its share."""

    weight: float = Field(1.0, gt=0, description="share in the mean of softened probabilities")


class MethodSettings(BaseModel):
    """One distillation loss: its place in the objective and, beside these keys, its own settings.

    The names, customary weights and settings of the methods are in `modules.distill.methods`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str = Field(description="a method, for example soft_target")
    weight: float | None = Field(None, ge=0, description="null: the method's customary weight")
    warmup_epochs: int = Field(0, ge=0, description="the weight rises from 0 over these epochs")
    temperature: float | None = Field(None, gt=0, description="null: distill.temperature")
    final_temperature: float | None = Field(
        None, gt=0, description="reached at the last epoch along half a cosine; null: constant"
    )
    student_layer: str | None = Field(None, description="feature methods: a layer's name")
    teacher_layer: str | None = Field(None, description="feature methods: a layer's name")


class DistillSettings(Settings):
    """The objective `alpha * L_hard + (1 - alpha) * sum of weight * method`."""

    alpha: float = Field(0.1, ge=0, le=1, description="weight of the hard-label loss")
    temperature: float = Field(4.0, gt=0, description="softens teacher and student logits")
    methods: tuple[MethodSettings, ...] = Field(
        (MethodSettings(name="soft_target"),), description="the distillation losses"
    )
    knowledge: Literal["cached", "online"] = Field(
        "cached", description="teacher logits computed once (SoftTargets), or in every step"
    )
    views: int = Field(
        1, ge=1, description="augmented views of each example that are cached; 1 without augment"
    )
    top_k: int | None = Field(
        None, ge=1, description="cache the k largest logits and spread the rest; null: all"
    )
    generations: int = Field(
        1, ge=1, description="above 1 each student teaches the next (born-again)"
    )
    control: bool = Field(
        True, description="also train the same student, same seed, without the teacher"
    )


class TuneSettings(Settings):
    """A search for the student's hyperparameters; what is not named stays as configured.

    Intervals are `[low, high]`. Those of the rate and of the weights are searched on a
    logarithmic scale.
    """

    trials: int = Field(10, ge=1, description="students that are trained and compared")
    epochs: int | None = Field(
        None, ge=1, description="upper bound of a trial; null: student.train.epochs"
    )
    temperature: Interval | None = Field(None, description="of distill.temperature")
    alpha: Interval | None = Field(None, description="of distill.alpha")
    learning_rate: Interval | None = Field(None, description="of student.train.learning_rate")
    method_weights: dict[str, Interval] = Field(
        default_factory=dict, description="by method; hint_2 is the second of several hint"
    )
    parameters: dict[str, tuple[JsonValue, ...]] = Field(
        default_factory=dict, description="choices of student.parameters, for example of widths"
    )

    @property
    def intervals(self) -> dict[str, Interval]:
        """The intervals by dotted name, for example `alpha` or `method_weights.hint`."""
        single = {
            "temperature": self.temperature,
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
        }
        weights = {f"method_weights.{name}": value for name, value in self.method_weights.items()}
        return {name: value for name, value in single.items() if value is not None} | weights

    @model_validator(mode="after")
    def _searches_something(self) -> TuneSettings:
        if not self.intervals and not self.parameters:
            raise ValueError(
                "tune must search something, or every trial would be the same; set one of "
                "temperature, alpha, learning_rate, method_weights, parameters"
            )
        return self

    @model_validator(mode="after")
    def _intervals_are_in_order_and_in_range(self) -> TuneSettings:
        for name, (low, high) in self.intervals.items():
            if low >= high:
                raise ValueError(
                    f"tune.{name} must be [low, high] with low below high, got [{low:g}, {high:g}]"
                )
            if name == "alpha":
                if low < 0 or high > 1:
                    raise ValueError(f"tune.alpha must lie in [0, 1], got [{low:g}, {high:g}]")
            elif low <= 0:
                raise ValueError(
                    f"tune.{name} must lie above 0, got [{low:g}, {high:g}]; raise its low end"
                )
        return self

    @model_validator(mode="after")
    def _parameters_have_choices(self) -> TuneSettings:
        for name, choices in self.parameters.items():
            if not choices or any(choice in choices[:at] for at, choice in enumerate(choices)):
                raise ValueError(
                    f"tune.parameters.{name} must list different choices, for example "
                    f"{name}: [[8, 16], [12, 24]], got {list(choices)}"
                )
        return self


class AugmentSettings(Settings):
    """Random changes of training images, each a function of the example, the view and the seed."""

    pad_crop: int = Field(0, ge=0, description="pad by so many pixels, crop at random")
    flip: bool = Field(False, description="mirror left and right at random")
    cutout: int = Field(0, ge=0, description="side of a grey square at a random place, in pixels")
    mixup: float = Field(0, ge=0, le=0.5, description="largest share of another image mixed in")

    @property
    def active(self) -> bool:
        """Whether any image is changed."""
        return self != AugmentSettings()


class ExportSettings(Settings):
    """TFLite files made from the student."""

    tflite: tuple[TFLiteVariant, ...] = Field(("float32", "int8"), min_length=1)
    calibration_examples: int = Field(
        200, ge=1, description="training examples that calibrate int8 and check every file"
    )

    @field_validator("tflite")
    @classmethod
    def _variants_differ(cls, variants: tuple[TFLiteVariant, ...]) -> tuple[TFLiteVariant, ...]:
        if len(set(variants)) != len(variants):
            raise ValueError(
                f"export.tflite must name each variant once, got {list(variants)}; "
                "remove the repeated ones"
            )
        return variants


class EvaluateSettings(Settings):
    """What the student is judged on, beside latency."""

    confidence: Fraction = Field(0.95, description="level of every interval in the report")
    top_k: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (3,), description="also count an answer as right among the k most probable"
    )
    slices: tuple[tuple[str, ...], ...] = Field(
        (("class_name",),),
        description="features of the examples, each alone or crossed: [[class_name], [a, b]]",
    )
    disagreements: int = Field(
        24, ge=0, description="examples shown on which teacher and student differ"
    )
    canary_examples: int = Field(
        16, ge=1, description="eval examples that every file must answer alike in a fresh process"
    )
    memory_limit_mb: int = Field(4096, ge=256, description="of such a process, in MiB")
    time_limit_s: float = Field(120.0, gt=0, description="of such a process, in seconds")

    @field_validator("slices", mode="before")
    @classmethod
    def _one_name_is_a_slice(cls, slices: Any) -> Any:
        if isinstance(slices, list | tuple):
            return [[each] if isinstance(each, str) else each for each in slices]
        return slices

    @field_validator("slices")
    @classmethod
    def _slices_name_features(cls, slices: tuple[tuple[str, ...], ...]) -> Any:
        for features in slices:
            if not features or len(set(features)) != len(features):
                raise ValueError(
                    f"evaluate.slices must list names of features, each once, got "
                    f"{[list(each) for each in slices]}; for example [[class_name]]"
                )
        return slices


class LatencySettings(Settings):
    """How models are timed: in interleaved blocks, in several fresh processes."""

    engine: Literal["blocks", "loadgen"] = Field(
        "blocks", description="our own interleaved blocks, or MLPerf LoadGen for single examples"
    )
    processes: int = Field(
        5, ge=2, description="fresh processes that time all models; the bootstrap resamples them"
    )
    blocks: int = Field(10, ge=2, description="blocks per model and process")
    queries_per_block: int = Field(50, ge=10, description="inferences in a block")
    warmup_queries: int = Field(20, ge=1, description="unmeasured inferences per model first")
    batch_size: int = Field(32, ge=2, description="examples in a query of the throughput batch")
    threads: int = Field(1, ge=1, description="threads of the runtime, the same for every model")


class Limit(Settings):
    """What one number of report.json must keep to; judged on its confidence bound."""

    number: str = Field(
        description="dotted, for example student.ece or variants.int8.latency.p99_ms; "
        "`*` is every variant"
    )
    min: FiniteFloat | None = Field(None, description="the number must reach this")
    max: FiniteFloat | None = Field(None, description="the number must not exceed this")
    against: Literal["teacher", "control", "student", "pushed"] | None = Field(
        None, description="judge the number minus that model's; pushed: the last pushed student's"
    )
    relative: bool = Field(False, description="with against: the number divided by that model's")
    slice: dict[str, str] | None = Field(
        None, description="judge on these examples alone, for example {class_name: '3'}"
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Limit:
        if self.min is None and self.max is None:
            raise ValueError(f"the limit of {self.number} must set min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(
                f"the limit of {self.number} must have min at or below max, "
                f"got {self.min:g} and {self.max:g}"
            )
        if self.relative and self.against is None:
            raise ValueError(f"the limit of {self.number} is relative, but to nothing; set against")
        return self


class GateSettings(Settings):
    """What the student must reach; a key left out (null) is not checked.

    The first five are short forms of the commonest `limits`.
    """

    min_accuracy: float | None = Field(None, ge=0, le=1, description="student, eval split")
    max_accuracy_drop: float | None = Field(
        None, ge=0, le=1, description="teacher accuracy - student accuracy"
    )
    max_tflite_accuracy_drop: float | None = Field(
        None, ge=0, le=1, description="student accuracy - TFLite accuracy, every variant"
    )
    min_speedup: float | None = Field(
        None, gt=0, description="teacher time / student time on LiteRT, single examples"
    )
    max_size_bytes: int | None = Field(None, ge=1, description="a TFLite file that is pushed")
    limits: tuple[Limit, ...] = Field((), description="limits on any number of the report")


class VertexRegistrySettings(Settings):
    """Registration of a pushed SavedModel in the Vertex AI Model Registry."""

    project: str = Field(description="Google Cloud project")
    region: str = Field(description="for example europe-west4")
    display_name: str | None = Field(None, description="null: the pipeline's name")
    serving_image: str = Field(
        "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest",
        description="container image that serves the SavedModel",
    )


class PushSettings(Settings):
    """What is pushed, and where to."""

    tflite: Literal["smallest", "fastest"] | tuple[TFLiteVariant, ...] = Field(
        "smallest", description="of the variants that pass; or the names of those that must pass"
    )
    destination: str | None = Field(
        None, description="a directory, or a URL TFX can write; null: pushed/ in the output"
    )
    keep: int | None = Field(
        None, ge=2, description="versions kept at the destination; null: all of them"
    )
    vertex: VertexRegistrySettings | None = Field(
        None, description="also register the SavedModel; null: no"
    )

    @field_validator("tflite", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, tflite: Any) -> Any:
        known = ("smallest", "fastest")
        return [tflite] if isinstance(tflite, str) and tflite not in known else tflite

    @field_validator("tflite")
    @classmethod
    def _names_something(cls, tflite: Any) -> Any:
        if not isinstance(tflite, str) and (not tflite or len(set(tflite)) != len(tflite)):
            raise ValueError(
                f"push.tflite must be smallest, fastest or a list of variants, each once, "
                f"got {list(tflite)}"
            )
        return tflite

    @field_validator("destination")
    @classmethod
    def _destination_is_named(cls, destination: str | None) -> str | None:
        if destination is not None and not destination.strip():
            raise ValueError(
                "push.destination must be a directory or a URL, got an empty text; "
                "remove the key for the output directory's pushed/"
            )
        return destination


Role = Literal["trainer", "evaluator", "default"]
Place = Literal["local", "kubeflow", "vertex"]


class ResourceSettings(Settings):
    """What a node's machine is to have; a key left out is the engine's default."""

    cpu: float | None = Field(None, gt=0, description="cores")
    memory: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]*(\.[0-9]+)?(K|M|G|T|Ki|Mi|Gi|Ti)?$",
        description="for example 16Gi",
    )
    accelerator: str | None = Field(
        None, min_length=1, description="as the engine calls it, for example NVIDIA_TESLA_T4"
    )
    accelerator_count: int = Field(1, ge=1, description="of them, for each replica")
    spot: bool = Field(False, description="a cheaper machine that may be taken away")
    replicas: int = Field(1, ge=1, description="trainer, Vertex: machines that train together")
    machine_type: str | None = Field(
        None, min_length=1, description="trainer, Vertex: of a CustomJob, for example n1-standard-8"
    )
    retries: int = Field(2, ge=0, description="how often a failed node is tried again")
    timeout_minutes: float | None = Field(None, gt=0, description="of one try; null: none")


class BeamSettings(Settings):
    """Which Beam runner executes the data-parallel nodes."""

    runner: Literal["in_memory", "multi_processing", "dataflow", "flink", "spark", "portable"] = (
        Field("in_memory", description="in the node's process, in several, or elsewhere")
    )
    workers: int | None = Field(
        None, ge=1, description="null: 1 in memory, one per core, or what the service chooses"
    )
    options: tuple[Annotated[str, Field(pattern=r"^--[a-zA-Z]")], ...] = Field(
        (), description="Beam's own, for example --machine_type=n1-standard-4; they go last"
    )

    @model_validator(mode="after")
    def _memory_has_one_worker(self) -> BeamSettings:
        if self.runner == "in_memory" and self.workers not in (None, 1):
            raise ValueError(
                f"runtime.beam: workers must be 1 with the runner in_memory, got {self.workers}; "
                "set runner: multi_processing"
            )
        return self

    @model_validator(mode="after")
    def _portable_has_a_job_service(self) -> BeamSettings:
        if self.runner == "portable" and not any(
            option.startswith("--job_endpoint=") for option in self.options
        ):
            raise ValueError(
                "runtime.beam: options must name the job service with the runner portable, got "
                f"{list(self.options)}; add --job_endpoint=HOST:PORT"
            )
        return self


class VertexSettings(Settings):
    """Where and as whom Vertex AI Pipelines runs the pipeline."""

    project: str | None = Field(None, min_length=1, description="Google Cloud project")
    region: str | None = Field(None, min_length=1, description="for example europe-west4")
    service_account: str | None = Field(
        None, min_length=1, description="that the nodes run as; null: the project's default"
    )
    network: str | None = Field(
        None, min_length=1, description="projects/NUMBER/global/networks/NAME; null: none"
    )
    labels: dict[str, str] = Field(default_factory=dict, description="of the run, for billing")
    caching: bool = Field(True, description="false: no node is answered from the cache")


class KubeflowSettings(Settings):
    """Where Kubeflow Pipelines answers."""

    endpoint: str | None = Field(None, min_length=1, description="URL of its API")
    namespace: str | None = Field(None, min_length=1, description="Kubernetes namespace")
    iap_client_id: str | None = Field(
        None, min_length=1, description="OAuth client, behind an Identity-Aware Proxy"
    )


class RuntimeSettings(Settings):
    """Where and how the pipeline is executed."""

    image: str | None = Field(
        None, min_length=1, description="container image with this code, for clusters and Beam"
    )
    pipeline_root: str | None = Field(
        None,
        min_length=1,
        description="of the artifacts on a cluster, for example gs://bucket/path",
    )
    resources: dict[Role, ResourceSettings] = Field(
        default_factory=dict,
        description="by role: trainer, evaluator, default, from which the others inherit",
    )
    beam: dict[Place, BeamSettings] = Field(
        default_factory=dict, description="by place: local, kubeflow, vertex; in memory by default"
    )
    strategy: Literal["auto", "mirrored", "multi_worker"] = Field(
        "auto", description="one device; all GPUs of a machine; the workers named by TF_CONFIG"
    )
    checkpoint_seconds: float = Field(
        30.0, ge=0, description="a training's state is saved after an epoch if the last is older"
    )
    vertex: VertexSettings = VertexSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    def resources_of(self, role: Role) -> ResourceSettings:
        """What a role is given: its own keys, then those of default."""
        inherited = self.resources.get("default", ResourceSettings())
        own = self.resources.get(role, ResourceSettings())
        return inherited.model_copy(update=own.model_dump(exclude_unset=True))

    @model_validator(mode="after")
    def _trainers_alone_have_replicas(self) -> RuntimeSettings:
        for role in ("default", "evaluator"):
            settings = self.resources.get(role)
            named = settings.model_fields_set & {"replicas", "machine_type"} if settings else ()
            for key in sorted(named):
                raise ValueError(
                    f"runtime.resources.{role}.{key} must not be set, since trainers alone run on "
                    f"several machines or as a CustomJob; set runtime.resources.trainer.{key}"
                )
        return self
