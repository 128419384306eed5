"""Model builders by name: found, checked, and held to the contract of their models.

A builder is a function `(inputs, output, **parameters) -> keras.Model`: `inputs` has the
`InputSpec` of each input by name, `output` is the `OutputSpec`. Its model maps a dictionary of the
inputs to logits `[batch, output.size]` (regression: values). To add one, write the function in the
file of its kind of input, name it in `BUILDERS` and add its test; to use your own, write
`model: "package.module:function"`. A parameter called `weights` names a file to start from; when a
trained model is loaded again it is left out.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.errors import (
    ConfigError,
    ModelError,
    UserError,
    did_you_mean,
    raise_problems,
    reason_of,
)
from modules.models.applications import keras_application, resnet50
from modules.models.contract import conform
from modules.models.forest import FitAtOnce, grow, random_forest
from modules.models.hub import keras_hub_backbone
from modules.models.image import cnn_tutorial, resnet_small, separable_cnn
from modules.models.inputs import Inputs, describe
from modules.models.linear import fit_histograms, fit_terms, image_linear, text_linear
from modules.models.mixture import mixture
from modules.models.tabular import mlp, resnet_tabular
from modules.models.text import text_cnn, text_transformer
from modules.settings import USERS_FUNCTION, ModelSettings

if TYPE_CHECKING:
    import keras

_MOST = 65_536  # of a width, a depth or the like

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    builder.__name__: builder
    for builder in (
        separable_cnn,
        cnn_tutorial,
        resnet_small,
        resnet50,
        keras_application,
        keras_hub_backbone,
        mlp,
        resnet_tabular,
        random_forest,
        text_linear,
        image_linear,
        text_cnn,
        text_transformer,
        mixture,
    )
}

# Models that learn from all labeled examples at once, and how. They learn from labels alone.
AT_ONCE: dict[str, FitAtOnce] = {
    random_forest.__name__: grow,
    text_linear.__name__: fit_terms,
    image_linear.__name__: fit_histograms,
}


def check_taught(settings: ModelSettings, argument: str) -> None:
    """Check a model that a teacher is to teach, without loading Keras.

    Raises:
      ConfigError: See `check_model`; or it learns from labels alone.
    """
    check_model(settings, argument)
    if settings.model in AT_ONCE:
        raise ConfigError(
            f"{argument}.model must be a network, which a teacher can teach, got "
            f"{settings.model!r}; make it the teacher"
        )


def check_model(settings: ModelSettings, argument: str) -> None:
    """Check a model's name and parameters without loading Keras.

    Raises:
      ConfigError: No such builder, or a parameter or number that it does not take.
    """
    if ":" in settings.model:
        # The user's own module may be heavy; it is imported when the run begins.
        if not re.match(USERS_FUNCTION, settings.model) or ".py:" in settings.model:
            raise ConfigError(
                f"{argument}.model must be package.module:function, got {settings.model!r}; name "
                "the module as Python imports it, without .py"
            )
        return
    builder = BUILDERS.get(settings.model)
    if builder is None:
        raise ConfigError(
            f"{argument}.model must be one of {', '.join(sorted(BUILDERS))} or "
            "package.module:function, "
            f"got {settings.model!r}{did_you_mean(settings.model, BUILDERS)}"
        )
    known = dict(list(inspect.signature(builder).parameters.items())[2:])
    problems = []
    for name, value in settings.parameters.items():
        if name not in known:
            problems.append(
                f"{argument}.parameters: {settings.model} takes {', '.join(known)}, "
                f"got {name!r}{did_you_mean(name, known)}"
            )
        # Written as text: annotations are not evaluated.
        elif wanted := _problem(name, value, str(known[name].annotation)):
            problems.append(f"{argument}.parameters.{name} must be {wanted}, got {value!r}")
    raise_problems(problems)


def _problem(name: str, value: Any, annotation: str) -> str:
    """What a parameter must be; "" if it is.

    `range(-1)` is empty: a model of -1 blocks would have none without a word.
    """
    kind, _, optional = annotation.partition(" | ")
    if value is None and optional:
        return ""
    if kind == "str":
        return "" if isinstance(value, str) else "a text"
    if kind.startswith("Mapping"):
        return "" if isinstance(value, dict) else "a section of keys"
    whole, most = "int" in kind, 1 if name == "dropout" else _MOST
    number, bounds = "whole number" if whole else "number", f"from {int(whole)} to {most:,}"
    if not kind.startswith("Sequence"):
        return "" if _is_number(value, whole, most) else f"a {number} {bounds}"
    if not isinstance(value, list | tuple):
        return f"a list of {number}s {bounds}"
    right = all(_is_number(each, whole, most) for each in value)
    return "" if right else f"{number}s {bounds}"


def _is_number(value: Any, whole: bool, most: int) -> bool:
    kinds = int if whole else int | float
    return isinstance(value, kinds) and not isinstance(value, bool) and int(whole) <= value <= most


def build_model(settings: ModelSettings, inputs: Inputs, output: OutputSpec) -> keras.Model:
    """Build a model and make it one of the project's: from a dictionary of inputs to logits.

    Args:
      settings: The builder and its parameters.
      inputs: Specification of each input, by name.
      output: What the model is to answer.

    Returns:
      A functional model over the dictionary, with one output `[b, output.size]`, float32.

    Raises:
      ConfigError: There is no such builder.
      ModelError: The builder fails, or its model has other inputs or another output.
    """
    if slashed := [name for name in inputs if "/" in name]:
        raise ModelError(
            f"inputs must have names without /, which Keras does not take, got "
            f"{', '.join(slashed)}; give them other names with data.rename"
        )
    builder = _find_builder(settings.model)
    try:
        model = builder(inputs, output, **settings.parameters)
    except UserError:
        raise
    # Whatever the user's code raises, even by sys.exit, is the user's to fix.
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {settings.model!r} with parameters {settings.parameters} cannot be built for "
            f"{describe(inputs)} and {output.size} outputs: {reason_of(error)}"
        ) from error
    return conform(model, inputs, output, f"model {settings.model!r}")


def _find_builder(name: str) -> Callable[..., keras.Model]:
    if name in BUILDERS:
        return BUILDERS[name]
    module_name, _, function_name = name.partition(":")
    try:
        builder = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"model {name!r} must be a name of the model zoo ({', '.join(sorted(BUILDERS))}) or "
            f"package.module:function that Python can import, but: {reason_of(error)}"
        ) from error
    return builder
