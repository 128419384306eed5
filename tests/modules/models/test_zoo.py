"""Models by name: found, checked, and held to the contract."""

import subprocess
import sys

import pytest
from small_models import SMALL, build, class_output, image_input

from modules.errors import ConfigError, ModelError
from modules.models import zoo
from modules.settings import ModelSettings


def test_models_are_checked_without_loading_keras():
    code = """
import sys
from modules.models import zoo
from modules.errors import ConfigError
from modules.settings import ModelSettings
zoo.check_model(ModelSettings(model="separable_cnn", parameters={"filters": [1]}), "student")
try:
    zoo.check_model(ModelSettings(model="separable_cn"), "student")
except ConfigError as error:
    print(error)
print(sorted({"keras", "tensorflow", "numpy"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    error, heavy = done.stdout.splitlines()
    assert error == (
        f"student.model must be one of {', '.join(sorted(zoo.BUILDERS))} or "
        "package.module:function, got 'separable_cn'; did you mean 'separable_cnn'?"
    )
    assert heavy == "[]"


def test_unknown_parameter_names_the_nearest():
    settings = ModelSettings(model="resnet_small", parameters={"width": [4]})
    with pytest.raises(ConfigError) as caught:
        zoo.check_model(settings, "teacher")
    assert str(caught.value) == (
        "teacher.parameters: resnet_small takes widths, blocks, dropout, "
        "got 'width'; did you mean 'widths'?"
    )
    # What the run passes itself is not the user's to set.
    settings = ModelSettings(model="separable_cnn", parameters={"output": 3})
    with pytest.raises(ConfigError, match=r"got 'output'$"):
        zoo.check_model(settings, "student")


def test_every_builder_passes_the_check_with_its_own_parameters():
    for name, parameters in SMALL.items():
        zoo.check_model(ModelSettings(model=name, parameters=parameters), "student")
    zoo.check_model(ModelSettings(model="anyones.module:function"), "student")


@pytest.fixture
def own_builders(tmp_path, monkeypatch):
    (tmp_path / "own_builders.py").write_text(
        """
import keras
from keras import layers

def good(inputs, output, units=3):
    (image,) = inputs.values()
    pixels = keras.Input(image.shape, dtype=image.dtype)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, layers.Dense(output.size)(layers.Dense(units)(x)))

def no_model(inputs, output):
    return None

def fails(inputs, output, how):
    raise eval(how)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_builders"
    sys.modules.pop("own_builders", None)


def test_own_builder(own_builders):
    model = build(f"{own_builders}:good", units=5)
    assert model.count_params() == (64 * 5 + 5) + (5 * 10 + 10)


def test_own_builder_that_breaks_the_contract(own_builders):
    with pytest.raises(ModelError, match=rf"model '{own_builders}:no_model' must be a keras.Model"):
        build(f"{own_builders}:no_model")


def test_names_that_keras_does_not_take_are_refused():
    inputs = image_input(name="image/encoded")
    with pytest.raises(ModelError, match=r"without /.*image/encoded.*data\.rename"):
        zoo.build_model(ModelSettings(model="separable_cnn"), inputs, class_output())


@pytest.mark.parametrize(
    "how", ["RuntimeError('no file')", "KeyError('depth')", "SystemExit(0)", "OSError(2, 'gone')"]
)
def test_whatever_an_own_builder_raises_names_file_and_line(own_builders, tmp_path, how):
    with pytest.raises(ModelError, match=r"cannot be built for image") as caught:
        build(f"{own_builders}:fails", how=how)
    message = str(caught.value)
    assert how.partition("(")[0] in message.replace("FileNotFoundError", "OSError")
    assert message.endswith(f"({tmp_path / 'own_builders.py'}, line 15)")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("def build(", r"SyntaxError: '\(' was never closed \(.*/broken_builders\.py, line 1\)"),
        ("import sys\nsys.exit(0)", r"SystemExit: 0"),
        ("1 / 0", r"ZeroDivisionError: division by zero"),
    ],
)
def test_own_module_that_fails_when_it_is_imported(tmp_path, monkeypatch, content, reason):
    (tmp_path / "broken_builders.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"but: {reason}") as caught:
        build("broken_builders:build")
    assert "broken_builders.py, line" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.models:build", "No module named 'no_such_package'"),
        ("modules.models.zoo:no_such_function", "no attribute 'no_such_function'"),
        (":build", "Empty module name"),
    ],
)
def test_own_builder_that_cannot_be_imported(name, reason):
    with pytest.raises(ConfigError, match=f"{name!r} must be a name of.*but: .*{reason}"):
        build(name)


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("separable_cnn", {"filters": 16}, "'int' object is not subscriptable"),
        ("separable_cnn", {"filters": [0]}, "strictly positive"),
        ("separable_cnn", {"filtres": [4]}, "unexpected keyword argument 'filtres'"),
        ("resnet_small", {"widths": []}, "list index out of range"),
    ],
)
def test_parameters_that_cannot_be_built(name, parameters, reason):
    with pytest.raises(
        ModelError, match=rf"model '{name}' with parameters .*image \(image \[8, 8, 1\]\).*{reason}"
    ):
        build(name, **parameters)
