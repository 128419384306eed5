"""`teacher` and `student`: a model and how it is trained, or a teacher that exists already."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from modules.settings.base import USERS_FUNCTION, PathOrUrl, Settings, of_pattern


class TrainSettings(Settings):
    """How a model is trained: with AdamW, keeping the weights of the best epoch.

    Fewer than 10 validation examples choose none: then the last epoch is kept.
    """

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
        "constant",
        description="of the learning rate: `constant`, or `cosine` decay to zero over all epochs",
    )
    warmup_epochs: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="epochs, or a part of one, over which the learning rate rises from 0; at most "
        "half of `epochs`",
    )
    weight_decay: float = Field(1e-4, ge=0, le=1000, description="decoupled weight decay of AdamW")
    clip_norm: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="largest norm of a step's gradient, that of all weights together; null: any",
    )
    average: float = Field(
        0.1,
        ge=0,
        le=1,
        description="validated and shipped are weights averaged over about this part of `epochs`; "
        "0: the last ones of an epoch",
    )
    batch_norm: Literal["steps", "built"] = Field(
        "built",
        description="running statistics of batch normalization: means of about an epoch, of 10 to "
        "100 `steps`; or with the momentum that the model was `built` with",
    )
    monitor: Literal["loss", "metric"] = Field(
        "loss",
        description="how the best epoch is chosen on the validation part: lowest `loss` of the "
        "labels; or highest `metric`: balanced accuracy, of a binary or multilabel task ROC AUC, "
        "with the lower loss where they are equal",
    )
    patience: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="epochs without a better one before training stops",
    )


class ModelSettings(Settings):
    """A model builder, its parameters, and how the model is trained."""

    model: str = Field(
        description="name of a built-in model, or `package.module:function` for your own"
    )
    parameters: dict[str, Any] = Field({}, description="keyword arguments of the builder")
    train: TrainSettings = TrainSettings()


_UsersFunction = Annotated[str, of_pattern(USERS_FUNCTION, "must be package.module:function")]
_Pixel = Annotated[float, Field(ge=-1_000_000, le=1_000_000)]
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
    function: _UsersFunction | None = Field(
        None,
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
    pixel_range: tuple[_Pixel, _Pixel] = Field(
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
    allow_weak: bool = Field(
        False,
        description="go on with a teacher that is clearly no better on held-out examples than "
        "always giving the most frequent class, or the mean",
    )

    @field_validator("pixel_range")
    @classmethod
    def _black_is_not_white(cls, pixel_range: tuple[float, float]) -> tuple[float, float]:
        if pixel_range[0] == pixel_range[1]:
            raise ValueError(
                f"must be two different numbers, got {list(pixel_range)}; for example [0, 1]"
            )
        return pixel_range

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
