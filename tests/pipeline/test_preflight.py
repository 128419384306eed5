"""pipeline.preflight: what is asked and tried when the data are known, before any training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.errors import ConfigError, ModelError, UserError
from modules.measure import conversion
from modules.settings import ImageFeature
from pipeline.config import PipelineConfig, load_config
from pipeline.preflight import check_places, check_spec

DIGITS = tuple(map(str, range(10)))
IMAGE = InputSpec(name="image", kind="image", feature="image", shape=(8, 8, 1), dtype="uint8")
SPEC = DataSpec(
    inputs=(IMAGE,),
    output=OutputSpec(task="classification", size=10, classes=DIGITS),
    features={"image": ImageFeature(size=8, channels=1)},
)
# A user's builders, each with what makes it difficult.
BUILDERS = """
import os
import traceback

import keras

def _model(inputs, output, middle):
    image = keras.Input(inputs["image"].shape, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    return keras.Model(image, keras.layers.Dense(output.size)(middle(x)), name="mine")

def flat(x):
    return keras.layers.Dense(6, activation="relu")(keras.layers.Flatten()(x))

def plain(inputs, output):
    return _model(inputs, output, flat)

def normalized(inputs, output):
    return _model(inputs, output, lambda x: keras.layers.LayerNormalization(name="norm")(flat(x)))

def recurrent(inputs, output, unroll=False):
    rows = keras.layers.Reshape((8, 8))
    lstm = keras.layers.LSTM(4, unroll=unroll, name="memory")
    return _model(inputs, output, lambda x: lstm(rows(x)))

class Noise(keras.layers.Layer):
    def call(self, x):
        return x + keras.random.normal((6,))

def moody(inputs, output):
    return _model(inputs, output, lambda x: Noise()(flat(x)))

class Fatal(keras.layers.Layer):
    # Ends the process that converts it.
    def call(self, x):
        if any(frame.filename.endswith("export/tflite.py") for frame in traceback.extract_stack()):
            os.abort()
        return x

    def compute_output_shape(self, shape):
        return shape

def crashing(inputs, output):
    return _model(inputs, output, lambda x: Fatal()(flat(x)))
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "preflight_models.py").write_text(BUILDERS)
    monkeypatch.syspath_prepend(tmp_path)

    def load(*changes: str) -> PipelineConfig:
        small = ["teacher={model: 'preflight_models:plain'}", "export.tflite=[float32, int8]"]
        student = "student={model: 'preflight_models:plain'}"
        return load_config("digits", [*small, student, *changes])

    return load


def test_a_student_whose_float32_file_cannot_be_made_is_refused_with_its_layer(
    config: Any,
) -> None:
    with pytest.raises(ModelError) as caught:
        check_spec(config("student={model: 'preflight_models:recurrent'}"), SPEC)
    assert str(caught.value) == (
        "student: mine cannot become a TFLite file (float32), there are no builtin operations for: "
        "TensorListReserve in the layer memory (LSTM: build it with unroll=True) (replace them in "
        "the model)"
    )


@pytest.mark.thorough
def test_what_need_not_ship_is_left_out_and_a_teacher_only_not_timed(
    config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    normalized = "student={model: 'preflight_models:normalized'}"
    recurrent = "teacher={model: 'preflight_models:recurrent'}"
    with caplog.at_level(logging.WARNING):
        check_spec(config(normalized, recurrent), SPEC)
    assert "student: mine cannot become a TFLite file (int8), there are no integer" in caplog.text
    assert "NEG in the layer norm (LayerNormalization" in caplog.text
    assert "int8 is left out" in caplog.text
    assert "in the layer memory (LSTM: build it with unroll=True)" in caplog.text
    assert "it is not timed" in caplog.text
    for needing in ("push.tflite=[int8]", "gate.limits=[{number: variants.int8.ece, max: 1}]"):
        with pytest.raises(ModelError, match=r"^student: mine cannot become .* \(int8\)"):
            check_spec(config(normalized, needing), SPEC)


@pytest.mark.thorough
def test_a_converter_that_crashes_is_a_reason_like_any_other(config: Any) -> None:
    with pytest.raises(ModelError, match=r"^student: its conversion failed, killed by signal 6"):
        check_spec(config("student={model: 'preflight_models:crashing'}"), SPEC)


@pytest.mark.thorough
def test_what_was_tried_is_remembered_as_long_as_nothing_changes(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, wanted = tmp_path / "preflight.json", config().student
    trial = {"student": (wanted, ("float32",))}
    with conversion.TrialConversions(trial, SPEC, memory) as conversions:
        assert conversions.problems() == {}
    monkeypatch.setattr(conversion, "Child", None)  # No process can be started any more.
    with conversion.TrialConversions(trial, SPEC, memory) as conversions:
        assert conversions.problems() == {}
    with pytest.raises(TypeError):
        conversion.TrialConversions({"student": (wanted, ("int8",))}, SPEC, memory).__enter__()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("teacher={model: 'preflight_models:moody'}", "teacher"),
        ("more_teachers=[{model: 'preflight_models:moody'}]", "more_teachers.0"),
        ("distill.assistants=[{model: 'preflight_models:moody'}]", "distill.assistants.0"),
        ("student={model: 'preflight_models:moody'}", "student"),
    ],
)
def test_a_model_is_named_by_its_place(
    config: Any, change: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.preflight.TrialConversions", _Nothing)
    with pytest.raises(ModelError) as caught:
        check_spec(config(change), SPEC)
    assert str(caught.value).startswith(f"{place}: mine must give the same answer")


def test_an_assistant_that_bridges_no_gap_is_told(
    config: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.preflight.TrialConversions", _Nothing)
    small, between, large = (
        f"{{model: separable_cnn, parameters: {{filters: [{count}]}}}}" for count in (4, 8, 16)
    )
    models = [f"teacher={large}", f"student={small}"]
    with caplog.at_level(logging.WARNING, "tfx_distill"):
        check_spec(config(*models, f"distill.assistants=[{between}]"), SPEC)
        assert not caplog.messages
        check_spec(config(*models, f"distill.assistants=[{between}, {large}]"), SPEC)
    assert (
        len(caplog.messages) == 2
    )  # the first teaches a larger one, the second learns of a smaller
    assert caplog.messages[1].startswith("distill.assistants.1 has ")


class _Nothing:
    """Converts nothing."""

    def __init__(self, *arguments: Any, **more: Any):
        pass

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def problems(self) -> dict[tuple[str, str], str]:
        return {}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            "gate.limits=[{number: student.accuracy, min: 0.5, slice: {class_name: '12'}}]",
            ConfigError,
            r"gate\.limits\.0\.slice: class_name must be one of 0, 1, .*, 9, got '12'",
        ),
        (
            "evaluate.slices=[site]",
            ConfigError,
            r"evaluate\.slices: 'site' must be a feature of the examples",
        ),
        ("push.destination={file}", UserError, r"push destination .*/file cannot be used"),
    ],
)
def test_what_only_the_judgment_or_the_push_would_find(
    config: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    error: type[UserError],
    message: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("pipeline.preflight.TrialConversions", _Nothing)
    # A run of the digits finds some of it even before it reads the data.
    with pytest.raises(error, match=message):
        check_spec(config(change.replace("{file}", str(tmp_path / "file"))), SPEC, ["image"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("gate={max_rmse: 1}", "gate.max_rmse: classification has no rmse"),
        ("gate={min_distillation_gain: 2}", "gate.min_distillation_gain: must not exceed 1"),
        ("latency.engine=loadgen", "latency.engine is loadgen, but the module not_here is not"),
    ],
)
def test_what_only_the_judgment_would_find_is_found_before_the_data_are_read(
    monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    monkeypatch.setattr("modules.measure.loadgen.MODULE", "not_here")
    with pytest.raises(ConfigError) as caught:
        check_places(load_config("digits", [change]))
    assert str(caught.value).startswith(words)
