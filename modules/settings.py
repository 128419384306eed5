"""The sections of the configuration, one for each part of `modules` that uses one.

They are pydantic models and import nothing heavy, so that a configuration is validated before
TensorFlow or TFX is loaded. `pipeline.config.PipelineConfig` composes them. Executors receive
them as JSON (`model_dump_json`) and read them back with `model_validate_json`.

The descriptions and the first paragraphs of the docstrings are printed as the reference
(`tfx-distill settings`, docs/configuration.md). A validator's message does not name its key: the
caller knows it. Rules between two keys are validators of the later one, so that they are reported
together with whatever else is wrong in the section.
"""

from __future__ import annotations

import datetime
import os
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    JsonValue,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]
# `~` is the home directory, as in a shell; other paths are relative to where a command is given.
PathOrUrl = Annotated[str, AfterValidator(os.path.expanduser)]
TFLiteVariant = Literal["float32", "float16", "dynamic_range", "int8"]
Interval = tuple[FiniteFloat, FiniteFloat]
Strategy = Literal["auto", "mirrored", "multi_worker"]
Task = Literal["classification", "binary", "multilabel", "regression"]
MOST_TEACHERS = 8
# What `data.path` begins with when the data are part of the project.
EMBEDDED = "embedded:"


class Settings(BaseModel):
    """Base of every configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `yes` and `true` would count as 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError(f"must be a number, got {str(value).lower()}")
        return value


def _form_of_size(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "pair"
    return "number" if isinstance(value, int) and not isinstance(value, bool) else None


_Side = Annotated[int, Field(ge=1, le=4096)]
# The form is decided first, so that a mistake is told by the rule of one form, not of both.
_Size = Annotated[
    Annotated[_Side, Tag("number")]
    | Annotated[tuple[_Side, _Side], Field(title="[height, width]"), Tag("pair")],
    Discriminator(
        _form_of_size,
        custom_error_type="size",
        custom_error_message="must be a number of pixels or [height, width]",
    ),
]


class ImageFeature(Settings):
    """An encoded image; the models take its pixels, `uint8 [height, width, channels]`."""

    kind: Literal["image"] = "image"
    size: _Size = Field(description="height and width in pixels; one number means a square")
    resize: Literal["stretch", "pad", "crop"] = Field(
        "stretch",
        description="`stretch`: each side by itself; `pad`: keep the proportions, black borders; "
        "`crop`: keep the proportions, cut from the center",
    )
    channels: Literal[1, 3] = Field(3, description="1 (gray) or 3 (RGB)")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width, self.channels


class NumericFeature(Settings):
    """A number; where some are missing, a second input `<name>_missing` says so."""

    kind: Literal["numeric"] = "numeric"
    scale: Literal["standard", "log", "quantile", "none"] = Field(
        "standard",
        description="`standard`: mean 0, deviation 1; `log`: the same of log(1 + x); `quantile`: "
        "the rank among the training examples, 0 to 1; `none`: as it is",
    )


class CategoryFeature(Settings):
    """A string or an integer that names one of several things, or a list of such."""

    kind: Literal["category"] = "category"
    min_count: int = Field(
        1, ge=1, le=10**9, description="rarer values count as unknown; in training examples"
    )
    oov_buckets: int = Field(
        1, ge=1, le=100_000, description="ids that unknown values share, by a hash"
    )
    max_values: int = Field(
        1, ge=1, le=10_000, description="values of one example; further ones are cut off"
    )


class TextFeature(Settings):
    """Text; the models take the ids of its tokens, padded with 0."""

    kind: Literal["text"] = "text"
    tokens: Literal["words", "characters"] = Field(
        "words", description="`words`: in lower case, without punctuation; `characters`"
    )
    length: int = Field(
        128, ge=1, le=100_000, description="number of tokens; longer texts are cut off"
    )
    vocabulary: int = Field(
        10_000, ge=1, le=10_000_000, description="largest number of different tokens"
    )
    min_count: int = Field(1, ge=1, le=10**9, description="rarer tokens count as unknown")
    vocabulary_file: PathOrUrl | None = Field(
        None, description="a file with one token per line instead of those of the data"
    )


class DistanceSettings(Settings):
    """How far the values of a feature may be apart in two sets of examples.

    Texts, ids and images are not compared. A curated schema's own comparators go before `limit`.
    """

    limit: float = Field(
        gt=0, le=1, description="largest Jensen-Shannon divergence of a feature, 0 to 1"
    )
    action: Literal["stop", "warn"] = Field(
        "stop", description="`stop` the run, or `warn` in the log and in the report"
    )


class DriftSettings(DistanceSettings):
    """What today's training examples are compared with."""

    statistics: PathOrUrl | None = Field(
        None,
        description="directory of an ExampleStatistics artifact; null: those of the last span, or "
        "of the last run with other examples, which local runs find by themselves",
    )


class CheckSettings(Settings):
    """What ExampleValidator does about examples that are not as expected."""

    anomalies: Literal["stop", "warn"] = Field(
        "stop", description="where examples do not fit the schema: `stop` the run, or `warn`"
    )
    skew: DistanceSettings | None = Field(
        None, description="compares the splits train and eval; null: not compared"
    )
    drift: DriftSettings | None = Field(
        None, description="compares the split train with that of the last span; null: not compared"
    )


def _kind_of(feature: Any) -> str | None:
    return feature.get("kind") if isinstance(feature, dict) else getattr(feature, "kind", None)


FeatureSettings = Annotated[
    Annotated[ImageFeature, Tag("image")]
    | Annotated[NumericFeature, Tag("numeric")]
    | Annotated[CategoryFeature, Tag("category")]
    | Annotated[TextFeature, Tag("text")],
    # Not the field itself: pydantic allows it no validator, and ours covers all fields.
    Discriminator(_kind_of),
]


def _form_of_weights(value: Any) -> str | None:
    return "each" if isinstance(value, dict) else "auto" if value == "auto" else None


_ClassWeights = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[dict[str, Annotated[float, Field(gt=0, le=1_000_000)]], Tag("each")],
    Discriminator(
        _form_of_weights,
        custom_error_type="class_weights",
        custom_error_message="must be auto or a weight for each class, such as {cat: 1, dog: 2.5}",
    ),
]


class RecordedExamples(Settings):
    """The newest Examples artifact that another TFX pipeline has recorded in its ML Metadata."""

    metadata: PathOrUrl = Field(description="its SQLite file, `metadata.sqlite` or `metadata.db`")
    pipeline: str = Field(min_length=1, description="name of the pipeline")
    node: str | None = Field(
        None, min_length=1, description="node that made them; null: the only one that has"
    )


class DataSettings(Settings):
    """Where the examples come from, what in them is what, and how they are split."""

    source: str = Field(
        "digits",
        description="`digits`: 1,797 handwritten digits, 8x8, which come with scikit-learn; "
        "`image_folder`: your own image files; `csv`, `parquet`, `tfrecord`: your own files; "
        "`examples`: the Examples of another TFX pipeline; `bigquery`: the rows of a query",
    )
    path: PathOrUrl | None = Field(
        None,
        description="a file, a directory or a pattern such as `data/*.csv` or "
        "`days/{SPAN}/*.csv`; of `image_folder` a directory with one sub-folder per class; of "
        "`examples` the artifact's directory; `embedded:segments.parquet` and the like come with "
        "the project",
    )
    produced_by: RecordedExamples | None = Field(
        None, description="of the source `examples`, instead of `path`: where they are recorded"
    )
    query: str | None = Field(None, min_length=1, description="SQL of the source `bigquery`")
    label: str | None = Field(
        None, min_length=1, description="the feature to predict; folders and digits have their own"
    )
    positive: str | None = Field(
        None, description="of a binary task, the class that counts as positive; null: the second"
    )
    classes: tuple[str, ...] = Field(
        (), description="names of the classes 0, 1, ... of integer labels; default: the values"
    )
    rename: dict[str, str] = Field(
        {},
        description="our names of features to those in the files, for example "
        "`{image: image/encoded, label: image/class/label}`",
    )
    features: dict[str, FeatureSettings] = Field(
        {},
        description="what the models take, by name; default: all features, of the kinds that their "
        "statistics suggest",
    )
    exclude: tuple[str, ...] = Field((), description="features that the models do not take")
    id: str | None = Field(
        None, min_length=1, description="a feature that identifies the example; null: its content"
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="a feature, for example of a patient or a camera: examples that share its "
        "value fall into the same split",
    )
    weight: str | None = Field(
        None, min_length=1, description="a feature that weights the example, above 0"
    )
    class_weights: _ClassWeights | None = Field(
        None,
        description="weights of the classes in training; `auto`: inverse to their frequency",
    )
    splits: dict[Literal["train", "eval", "unlabeled"], str] = Field(
        {},
        description="your own splits: a pattern below `path` for each of `train` and `eval`, and "
        "perhaps `unlabeled`; default: by a hash of the content",
    )
    unlabeled: PathOrUrl | None = Field(
        None, description="further examples without label, as `path`; of the same source"
    )
    time: str | None = Field(
        None, min_length=1, description="a feature with a date or time, for `eval_from`"
    )
    eval_from: str | None = Field(
        None,
        min_length=1,
        description="examples whose `time` is this or later are kept for the judgment",
    )
    eval_fraction: Fraction = Field(
        0.2, description="share of all examples that is kept for the judgment"
    )
    validation_fraction: Fraction = Field(
        0.1, description="share of the training split that is held out for early stopping"
    )
    split_seed: int = Field(
        0, ge=0, lt=2**53, description="another seed gives another train/eval split"
    )
    schema_file: PathOrUrl | None = Field(
        None, description="a curated `schema.pbtxt`; null: inferred from the training examples"
    )
    checks: CheckSettings = CheckSettings()
    preprocessing_fn: str | None = Field(
        None,
        min_length=1,
        description="`package.module:function` or `file.py:function`, a TFX preprocessing_fn, "
        "instead of `features`",
    )

    @model_validator(mode="before")
    @classmethod
    def _digits_are_images(cls, content: Any) -> Any:
        """The size of the digits is known."""
        if isinstance(content, dict) and content.get("source", "digits") == "digits":
            image = {"kind": "image", "size": 8, "channels": 1}
            if not content.get("preprocessing_fn"):
                return {"features": {"image": image}} | content
        return content

    @property
    def external_path(self) -> str | None:
        """`path`, unless it names data that are part of the project."""
        return None if (self.path or "").startswith(EMBEDDED) else self.path

    @field_validator("preprocessing_fn")
    @classmethod
    def _features_or_function(cls, function: str | None, info: ValidationInfo) -> str | None:
        if function and info.data.get("features"):
            raise ValueError(
                f"must not be set together with features, got {function!r}; remove one of the two"
            )
        return function

    @field_validator("eval_from", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        """YAML reads 2024-03-31 as a date and 2024 as a number."""
        return str(value) if isinstance(value, datetime.date | int | float) else value


class TrainSettings(Settings):
    """How a model is trained: with AdamW, keeping the weights with the lowest validation loss."""

    epochs: int = Field(
        30,
        ge=0,
        le=1_000_000,
        description="upper bound; 0 keeps the weights that the builder gave the model",
    )
    batch_size: int = Field(
        64, ge=1, le=1_000_000, description="examples per step, over all workers"
    )
    mixed_precision: bool = Field(False, description="compute in float16 on a GPU")
    learning_rate: float = Field(1e-3, gt=0, le=1000, description="initial learning rate of AdamW")
    schedule: Literal["constant", "cosine"] = Field(
        "cosine",
        description="of the learning rate: `constant`, or `cosine` decay to zero over all epochs",
    )
    weight_decay: float = Field(1e-4, ge=0, le=1000, description="decoupled weight decay of AdamW")
    patience: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="epochs without a lower validation loss before training stops",
    )


class ModelSettings(Settings):
    """A model builder, its parameters, and how the model is trained."""

    model: str = Field(
        description="name of a built-in model, or `package.module:function` for your own"
    )
    parameters: dict[str, Any] = Field({}, description="keyword arguments of the builder")
    train: TrainSettings = TrainSettings()


# What a teacher is, and which other keys belong to it.
_TRAINED = ("parameters", "train")
_MODEL_FILE = ("labels", "returns", "inputs", "pixel_range")
_ASKED = (*_MODEL_FILE, "output", "batch_size")
_TEACHER_KEYS: dict[str, tuple[str, ...]] = {
    "model": _TRAINED,
    "keras_file": _MODEL_FILE,
    "saved_model": (*_ASKED, "signature"),
    "onnx": _ASKED,
    "answers": ("labels",),
    "function": ("labels", "returns", "batch_size", "retries", "calls_per_minute"),
}


class TeacherSettings(ModelSettings):
    """A teacher: one that is trained here (`model`), or one that exists already; docs/teachers.md.

    With several teachers, the first one is the baseline of the judgment.
    """

    model: str = Field(
        "",
        description="trained here: name of a built-in model, or `package.module:function` for your "
        "own",
    )
    keras_file: PathOrUrl | None = Field(
        None, min_length=1, description="instead of `model`: a trained model, `.keras` or `.h5`"
    )
    saved_model: PathOrUrl | None = Field(
        None, min_length=1, description="instead of `model`: the directory of a SavedModel"
    )
    onnx: PathOrUrl | None = Field(
        None, min_length=1, description="instead of `model`: an ONNX file; needs onnxruntime"
    )
    answers: PathOrUrl | None = Field(
        None,
        min_length=1,
        description="instead of `model`: answers by example, a file `.parquet`, `.npz` or "
        "`.tfrecord`",
    )
    function: str | None = Field(
        None,
        pattern=r"^[\w.]+:\w+$",
        description="instead of `model`: `package.module:function`, from a batch of raw features "
        "to answers",
    )
    labels: tuple[str, ...] = Field(
        (),
        description="what each of the teacher's outputs stands for, in its order; a class named "
        "twice gets the sum, names that are no classes of the data are dropped; default: ours",
    )
    returns: Literal["logits", "probabilities"] = Field(
        "logits", description="what the teacher answers; probabilities are turned into logits"
    )
    inputs: dict[str, str | tuple[str, ...]] = Field(
        {},
        description="names of the teacher's inputs to features of the data, or to lists of them, "
        "which become columns; default: the same names",
    )
    pixel_range: tuple[FiniteFloat, FiniteFloat] = Field(
        (0.0, 255.0), description="what the teacher expects of black and white, such as `[0, 1]`"
    )
    signature: str = Field(
        "serving_default", min_length=1, description="which signature of the SavedModel is asked"
    )
    output: str | None = Field(
        None,
        min_length=1,
        description="which output is the answer; null: the only one, or `logits`",
    )
    batch_size: int = Field(
        256, ge=1, le=1_000_000, description="examples that the teacher is asked at once"
    )
    retries: int = Field(
        3, ge=0, le=100, description="how often a call that fails is tried again, ever more slowly"
    )
    calls_per_minute: float | None = Field(
        None, gt=0, le=1_000_000, description="largest number of calls per minute; null: any"
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=1_000_000,
        description="share in the mean of the teachers' softened probabilities",
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> TeacherSettings:
        named = [kind for kind in _TEACHER_KEYS if getattr(self, kind)]
        if len(named) != 1:
            raise ValueError(
                f"must set one of {', '.join(_TEACHER_KEYS)}, got {' and '.join(named) or 'none'}; "
                "replace the whole section, such as --set 'teacher={keras_file: teacher.keras}'"
            )
        allowed = {named[0], "weight", *_TEACHER_KEYS[named[0]]}
        foreign = {key for keys in _TEACHER_KEYS.values() for key in keys} - allowed
        fields = type(self).model_fields
        # By their values, since a configuration that was dumped sets everything.
        odd = sorted(key for key in foreign if getattr(self, key) != fields[key].default)
        if odd:
            raise ValueError(
                f"{odd[0]} must not be set together with {named[0]}, for which it means nothing; "
                "remove it"
            )
        return self

    @property
    def kind(self) -> str:
        """The key that says what the teacher is."""
        return next(kind for kind in _TEACHER_KEYS if getattr(self, kind))

    @property
    def name(self) -> str:
        """Its path or name, as configured."""
        return str(getattr(self, self.kind))

    @property
    def is_model(self) -> bool:
        """Whether it is a Keras model, which can teach online, be timed and be exported."""
        return self.kind in ("model", "keras_file")


class MethodSettings(BaseModel):
    """One distillation loss. Besides these keys, some methods have settings of their own.

    The names, customary weights and settings of the methods are in `modules.distill.methods`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str = Field(description="a method of docs/methods.md, for example `soft_target`")
    weight: float | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="weight of the loss; null: the method's customary weight",
    )
    warmup_epochs: int = Field(
        0, ge=0, le=1_000_000, description="epochs over which the weight rises linearly from 0"
    )
    temperature: float | None = Field(
        None, gt=0, le=1000, description="temperature of this method; null: `distill.temperature`"
    )
    final_temperature: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="temperature at the last epoch, reached along half a cosine; null: constant",
    )
    student_layer: str | None = Field(
        None, description="feature methods: the student's layer to compare"
    )
    teacher_layer: str | None = Field(
        None, description="feature methods: the teacher's layer to compare it with"
    )


class DistillSettings(Settings):
    """The training loss of the student: `alpha * L_hard + (1 - alpha) * sum of weight * method`."""

    alpha: float = Field(
        0.1, ge=0, le=1, description="weight of the **hard-label** loss; 1 - alpha: distillation"
    )
    temperature: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="divides the logits of teacher and student before the softmax",
    )
    methods: tuple[MethodSettings, ...] = Field(
        ({"name": "soft_target"},),
        validate_default=True,
        description="the distillation losses, added with their weights",
    )
    soft_targets: Literal["cached", "online"] = Field(
        "cached",
        description="`cached`: the teacher's logits are computed once and shared by all students; "
        "`online`: in every step, which feature methods and mixup need",
    )
    views: int = Field(
        1, ge=1, le=1000, description="augmented views of each example to cache; needs `augment`"
    )
    top_k: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="cache the k largest logits only, and spread the rest evenly; null: all",
    )
    generations: int = Field(
        1,
        ge=1,
        le=100,
        description="above 1, each student teaches the next one (born-again networks)",
    )
    control: bool = Field(
        True,
        description="also train the same student, with the same seed, without the teacher",
    )


class TuneSettings(Settings):
    """A search for the student's hyperparameters. What is not named stays as configured.

    Ranges are `[low, high]`. Those of the learning rate and of the weights are searched on a
    logarithmic scale.
    """

    trials: int = Field(
        10, ge=1, le=10_000, description="number of students that are trained and compared"
    )
    epochs: int | None = Field(
        None, ge=1, le=1_000_000, description="upper bound of a trial; null: `student.train.epochs`"
    )
    temperature: Interval | None = Field(None, description="range of `distill.temperature`")
    alpha: Interval | None = Field(None, description="range of `distill.alpha`")
    learning_rate: Interval | None = Field(
        None, description="range of `student.train.learning_rate`"
    )
    method_weights: dict[str, Interval] = Field(
        {},
        description="range of each method's weight; hint_2 is the second of several hint",
    )
    parameters: dict[str, tuple[JsonValue, ...]] = Field(
        {},
        description="choices for each of `student.parameters`, for example "
        "`filters: [[8, 16], [16, 32]]`",
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
                "must search something, or every trial would be the same; set one of "
                "temperature, alpha, learning_rate, method_weights, parameters"
            )
        return self

    @field_validator("temperature", "alpha", "learning_rate", "method_weights")
    @classmethod
    def _ranges_are_in_order(cls, value: Any, info: ValidationInfo) -> Any:
        ranges = value if isinstance(value, dict) else {"": value} if value else {}
        for name, (low, high) in ranges.items():
            of = f"{name}: " if name else ""
            got = f"got [{low:g}, {high:g}]"
            if low >= high:
                raise ValueError(f"{of}must be [low, high] with low below high, {got}")
            if info.field_name == "alpha":
                if low < 0 or high > 1:
                    raise ValueError(f"must lie in [0, 1], {got}")
            elif low <= 0:
                raise ValueError(f"{of}must lie above 0, {got}; raise its low end")
        return value

    @field_validator("parameters")
    @classmethod
    def _parameters_have_choices(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name, choices in parameters.items():
            if not choices or any(choice in choices[:at] for at, choice in enumerate(choices)):
                raise ValueError(
                    f"{name}: must list different choices, for example "
                    f"{name}: [[8, 16], [12, 24]], got {list(choices)}"
                )
        return parameters


class AugmentSettings(Settings):
    """Random changes of training images, each a function of the example, the view and the seed."""

    pad_crop: int = Field(
        0,
        ge=0,
        le=1000,
        description="pixels to pad on every side before a random crop of the old size",
    )
    flip: bool = Field(False, description="mirror left and right at random")
    cutout: int = Field(
        0, ge=0, le=1000, description="side of a gray square at a random place, in pixels"
    )
    mixup: float = Field(
        0, ge=0, le=0.5, description="largest share of another image that is mixed in"
    )

    @property
    def active(self) -> bool:
        """Whether any image is changed."""
        return self != AugmentSettings()


class ExportSettings(Settings):
    """The TFLite files that are made from the student. All of them take raw `uint8` pixels."""

    tflite: tuple[TFLiteVariant, ...] = Field(
        ("float32", "int8"),
        description="variants to export; `float32`, on which speed is compared, must be one",
    )
    calibration_examples: int = Field(
        200,
        ge=1,
        le=100_000,
        description="training examples, balanced over the classes, that calibrate int8 and check "
        "every file",
    )

    @field_validator("tflite")
    @classmethod
    def _variants_differ(cls, variants: tuple[TFLiteVariant, ...]) -> tuple[TFLiteVariant, ...]:
        if len(set(variants)) != len(variants):
            raise ValueError(
                f"must name each variant once, got {list(variants)}; remove the repeated ones"
            )
        if "float32" not in variants:
            # Timing needs the student in the teacher's format.
            raise ValueError(
                "must include float32, on which teacher and student are timed, "
                f"got {list(variants)}; add float32"
            )
        return variants


class EvaluateSettings(Settings):
    """What the student is judged on, besides latency."""

    confidence: Fraction = Field(
        0.95, description="confidence level of every interval in the report"
    )
    top_k: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (3,),
        description="also report how often the label is among the k most probable classes; of more "
        "than k classes",
    )
    slices: tuple[tuple[str, ...], ...] = Field(
        (("class_name",),),
        description="features to slice by, alone or crossed: `[class_name, [site, camera]]`; by "
        "class only where an example has one",
    )
    disagreements: int = Field(
        24, ge=0, le=10_000, description="examples to show on which teacher and student differ"
    )
    canary_examples: int = Field(
        16,
        ge=1,
        le=10_000,
        description="eval examples that every file must answer alike in a fresh process",
    )
    memory_limit_mb: int = Field(
        4096, ge=256, le=1_000_000, description="memory of such a process, in MiB"
    )
    time_limit_s: float = Field(
        120.0, gt=0, le=86_400, description="time for such a process, in seconds"
    )

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
                    f"must list names of features, each once, got "
                    f"{[list(each) for each in slices]}; for example [[class_name]]"
                )
        return slices


class LatencySettings(Settings):
    """How models are timed: in interleaved blocks, in several fresh processes."""

    engine: Literal["blocks", "loadgen"] = Field(
        "blocks",
        description="`blocks`: built-in interleaved blocks; `loadgen`: MLPerf LoadGen, for single "
        "examples",
    )
    processes: int = Field(
        5,
        ge=2,
        le=100,
        description="fresh processes that time all models; the bootstrap resamples them",
    )
    blocks: int = Field(10, ge=2, le=10_000, description="blocks per model and process")
    queries_per_block: int = Field(50, ge=10, le=100_000, description="inferences per block")
    warmup_queries: int = Field(
        20, ge=1, le=100_000, description="inferences per model before anything is timed"
    )
    batch_size: int = Field(
        32, ge=2, le=65_536, description="examples per query when throughput is measured"
    )
    threads: int = Field(
        1, ge=1, le=1024, description="threads of the runtime, the same for every model"
    )
    saved_model: bool = Field(
        False, description="also time the SavedModels; a limit of the gate on their times does so"
    )


class Limit(Settings):
    """A limit on one number of report.json, judged on the bound of its confidence interval."""

    number: str = Field(
        description="dotted name, for example `student.ece` or `variants.int8.latency.p99_ms`; "
        "`*` stands for every variant"
    )
    min: FiniteFloat | None = Field(None, description="the number must reach this")
    max: FiniteFloat | None = Field(None, description="the number must not exceed this")
    against: Literal["teacher", "control", "student", "pushed"] | None = Field(
        None,
        description="judge the difference from that model's number; `pushed` is the last pushed "
        "student",
    )
    relative: bool = Field(
        False, description="with `against`: judge the ratio instead of the difference"
    )
    slice: dict[str, str] | None = Field(
        None, description='judge these examples alone, for example `{class_name: "3"}`'
    )

    @field_validator("max")
    @classmethod
    def _min_is_below_max(cls, most: float | None, info: ValidationInfo) -> float | None:
        least = info.data.get("min")
        if least is not None and most is not None and least > most:
            raise ValueError(f"must not be below min, {least:g}, got {most:g}")
        return most

    @field_validator("relative")
    @classmethod
    def _relative_to_something(cls, relative: bool, info: ValidationInfo) -> bool:
        if relative and info.data.get("against", "") is None:
            raise ValueError("needs against, the model whose number divides; set against")
        return relative

    @model_validator(mode="after")
    def _limits_something(self) -> Limit:
        if self.min is None and self.max is None:
            raise ValueError(f"the limit of {self.number} must set min, max or both")
        return self


class GateSettings(Settings):
    """What the student must reach. At least one limit must be set; null is not checked.

    All but the last are short forms of the most common `limits`. Those of accuracy are for classes
    and labels, of RMSE for `regression`, of ROC AUC for `binary` and `multilabel`.
    """

    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="lowest accuracy of the student on the eval split"
    )
    max_accuracy_drop: float | None = Field(
        None, ge=0, le=1, description="largest teacher accuracy - student accuracy"
    )
    max_tflite_accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="largest student accuracy - TFLite accuracy, of every variant",
    )
    min_roc_auc: float | None = Field(
        None, ge=0, le=1, description="lowest area under the student's ROC curve"
    )
    max_roc_auc_drop: float | None = Field(
        None, ge=0, le=1, description="largest teacher ROC AUC - student ROC AUC"
    )
    max_rmse: float | None = Field(
        None,
        gt=0,
        le=1e300,
        description="largest root mean square error of the student, in the label's unit",
    )
    max_rmse_increase: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="largest increase of the RMSE over the teacher's, as a share of it: 0.1 is "
        "10 % worse",
    )
    max_tflite_rmse_increase: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="largest increase of the RMSE over the student's, as a share of it, of every "
        "TFLite variant",
    )
    min_speedup: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="lowest teacher time / student time on LiteRT, for single examples",
    )
    max_size_bytes: int | None = Field(
        None, ge=1, le=10**13, description="largest size of a TFLite file that is pushed"
    )
    limits: tuple[Limit, ...] = Field((), description="limits on any number of the report")


class VertexRegistrySettings(Settings):
    """Registration of the pushed SavedModel in the Vertex AI Model Registry."""

    project: str = Field(description="Google Cloud project")
    region: str = Field(description="for example `europe-west4`")
    display_name: str | None = Field(
        None, description="name shown in the registry; null: the pipeline's name"
    )
    serving_image: str = Field(
        "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest",
        description="container image that serves the SavedModel",
    )


class PushSettings(Settings):
    """What is pushed, and where to."""

    tflite: Literal["smallest", "fastest"] | tuple[TFLiteVariant, ...] = Field(
        "smallest",
        description="the smallest or fastest of the variants that pass; or a list of variants, "
        "all of which must pass",
    )
    destination: PathOrUrl | None = Field(
        None,
        description="a directory, or a URL such as `s3://bucket/models`; null: `pushed/` in the "
        "output directory",
    )
    keep: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="number of versions to keep at the destination; null: all",
    )
    vertex: VertexRegistrySettings | None = Field(
        None, description="also register the SavedModel in Vertex AI; null: do not"
    )

    @field_validator("tflite", mode="before")
    @classmethod
    def _choice_or_names(cls, tflite: Any) -> Any:
        if tflite in ("smallest", "fastest"):
            return tflite
        names = [tflite] if isinstance(tflite, str) else tflite
        known = get_args(TFLiteVariant)
        listed = isinstance(names, list | tuple) and names and all(name in known for name in names)
        if not listed or len(set(names)) != len(names):
            raise ValueError(
                f"must be smallest, fastest or a list of {', '.join(known)}, each at most once, "
                f"got {tflite!r}"
            )
        return names

    @field_validator("destination")
    @classmethod
    def _destination_is_named(cls, destination: str | None) -> str | None:
        if destination is not None and not destination.strip():
            raise ValueError(
                "must be a directory or a URL, got an empty string; "
                "remove the key to push to pushed/ in the output directory"
            )
        return destination


Role = Literal["trainer", "evaluator", "default"]
Place = Literal["local", "kubeflow", "vertex"]


class ResourceSettings(Settings):
    """What a node's machine must have. A key that is left out is the engine's default."""

    cpu: float | None = Field(None, gt=0, le=1024, description="cores")
    memory: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]*(\.[0-9]+)?(K|M|G|T|Ki|Mi|Gi|Ti)?$",
        description="for example `16Gi`",
    )
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
    options: tuple[Annotated[str, Field(pattern=r"^--[a-zA-Z]")], ...] = Field(
        (),
        validate_default=True,
        description="further options of Beam, for example `--machine_type=n1-standard-4`",
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
