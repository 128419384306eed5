"""Model builders by name: found, checked, and held to the contract of their models.

A builder is a function `(input_shape, classes, **parameters) -> keras.Model` whose model maps
`uint8 [batch, height, width, channels]` to float32 logits `[batch, classes]`. To add one, write
the function in `image.py`, name it in `BUILDERS` and add its test; to use your own, write
`model: "package.module:function"`. A parameter called `weights` names a file to start from; when
a trained model is loaded again it is left out.
"""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from modules.errors import ConfigError, ModelError, UserError, did_you_mean, raise_problems
from modules.models.image import Shape, cnn_small, cnn_tutorial, resnet50, resnet_small
from modules.models.outputs import check_logits
from modules.settings import ModelSettings

if TYPE_CHECKING:
    import keras

# Frames of these say nothing about the user's code.
_LIBRARIES = re.compile(r"site-packages|<frozen |importlib")

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "resnet_small": resnet_small,
    "cnn_small": cnn_small,
    "cnn_tutorial": cnn_tutorial,
    "resnet50": resnet50,
}


def check_model(settings: ModelSettings, argument: str) -> None:
    """Check a model's name and parameter names without loading Keras.

    Raises:
      ConfigError: No such builder, or a parameter that it does not take.
    """
    if ":" in settings.model:
        return  # The user's own module may be heavy; it is imported when the run begins.
    builder = BUILDERS.get(settings.model)
    if builder is None:
        raise ConfigError(
            f"{argument}.model must be one of {', '.join(sorted(BUILDERS))} or "
            "package.module:function, "
            f"got {settings.model!r}{did_you_mean(settings.model, BUILDERS)}"
        )
    known = list(inspect.signature(builder).parameters)[2:]
    raise_problems(
        f"{argument}.parameters: {settings.model} takes {', '.join(known)}, "
        f"got {name!r}{did_you_mean(name, known)}"
        for name in settings.parameters
        if name not in known
    )


def build_model(settings: ModelSettings, input_shape: Shape, classes: int) -> keras.Model:
    """Build a model and hold it to the contract: uint8 pixels in, logits `[batch, classes]` out.

    Raises:
      ModelError: The builder fails, or its model has another input or output.
    """
    builder = _find_builder(settings.model)
    try:
        model = builder(input_shape, classes, **settings.parameters)
    except UserError:
        raise
    # Whatever the user's code raises, even by sys.exit, is the user's to fix.
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {settings.model!r} with parameters {settings.parameters} cannot be built for "
            f"input {input_shape} and {classes} classes: {_reason(error)}"
        ) from error
    output = tuple(getattr(model, "output_shape", ()))
    if output != (None, classes):
        raise ModelError(
            f"model {settings.model!r} must return logits of shape (None, {classes}), one for "
            f"each class of the data, but returns {output}; end it with Dense(classes)"
        )
    check_logits(model, f"model {settings.model!r}")
    if tuple(model.input_shape) != (None, *input_shape):
        raise ModelError(
            f"model {settings.model!r} must take pixels of shape {(None, *input_shape)}, "
            f"but takes {model.input_shape}; build its Input from input_shape"
        )
    return model


def _find_builder(name: str) -> Callable[..., keras.Model]:
    if name in BUILDERS:
        return BUILDERS[name]
    module_name, _, function_name = name.partition(":")
    try:
        builder = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"model {name!r} must be a name of the model zoo ({', '.join(sorted(BUILDERS))}) or "
            f"package.module:function that Python can import, but: {_reason(error)}"
        ) from error
    return builder


def _reason(error: BaseException) -> str:
    """One line that says what was raised, and in which line of whose file."""
    # Keras spreads its reasons over several lines, the first of which seldom is one.
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _LIBRARIES.search(frame.filename)]
    if isinstance(error, SyntaxError) or not own[1:]:
        return text
    return f"{text} ({own[-1].filename}, line {own[-1].lineno})"
