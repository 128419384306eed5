"""Models on disk: a description and the weights, from which the builder makes them again.

A model that no builder of ours made, a teacher from a Keras file, is kept whole instead.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from modules.data.spec import InputSpec, OutputSpec
from modules.disk import space_for
from modules.errors import ModelError, first_problem
from modules.models.inputs import Inputs
from modules.models.known import KnownModel
from modules.models.zoo import build_model
from modules.settings import ModelSettings, Settings

if TYPE_CHECKING:
    import keras

_KERAS_DIRECTORY = "Format-Keras"
_DESCRIPTION_FILE = "model.json"
_WEIGHTS_FILE = "model.weights.h5"
_WHOLE_FILE = "model.keras"
_CHUNK_BYTES = 1 << 20
# Of a file of weights, for each of them: names, groups, alignment.
_OVERHEAD_BYTES = 4096


class _Description(Settings):
    """What is beside the weights."""

    model: str
    parameters: dict[str, Any]
    inputs: tuple[InputSpec, ...]
    output: OutputSpec
    parameter_count: int
    weights_sha256: str


def keras_directory(serving_dir: str) -> str:
    """Where the weights of the model lie whose SavedModel is at `serving_dir`."""
    return os.path.join(os.path.dirname(serving_dir.rstrip("/")), _KERAS_DIRECTORY)


def save_model(
    model: keras.Model,
    settings: ModelSettings,
    inputs: Inputs,
    output: OutputSpec,
    directory: str,
) -> None:
    """Write a description and the weights, from which `load_model` builds the model again.

    Without `settings.model` the whole model is written.

    Raises:
      UserError: The disk is full.
    """
    import tensorflow as tf

    name, write = (
        (_WEIGHTS_FILE, model.save_weights) if settings.model else (_WHOLE_FILE, model.save)
    )
    weights, aside = os.path.join(directory, name), os.path.join(directory, f"aside.{name}")
    with space_for(aside, weight_bytes(model), "the weights"):
        tf.io.gfile.makedirs(directory)
        write(aside)
        tf.io.gfile.rename(aside, weights, overwrite=True)
    description = _Description(
        model=settings.model,
        parameters=settings.parameters,
        inputs=tuple(inputs.values()),
        output=output,
        parameter_count=model.count_params(),
        weights_sha256=_sha256(weights),
    )
    # Last, so that what is described is there.
    with tf.io.gfile.GFile(os.path.join(directory, _DESCRIPTION_FILE), "w") as file:
        file.write(description.model_dump_json(indent=2))


def weight_bytes(model: keras.Model) -> int:
    """How many bytes a file of a model's weights has at most."""
    return 4 * int(model.count_params()) + _OVERHEAD_BYTES * (16 + len(model.weights))


def load_model(directory: str, known: KnownModel) -> keras.Model:
    """Build and load a model that `save_model` wrote.

    Args:
      directory: Where it lies.
      known: The only builder that the description may name.

    Raises:
      ModelError: The files are missing or damaged, or do not belong to what the builder now builds.
    """
    description = _read_description(directory)
    known.check(
        description.model, description.parameters, os.path.join(directory, _DESCRIPTION_FILE)
    )
    weights = os.path.join(directory, _WEIGHTS_FILE if description.model else _WHOLE_FILE)
    if _sha256(weights) != description.weights_sha256:
        raise ModelError(
            f"{weights} is not the file that {_DESCRIPTION_FILE} beside it describes",
            damaged=os.path.dirname(directory.rstrip("/")),
        )
    if not description.model:
        return _whole(weights)
    # `weights` names the file that a training began with, which need not be here any more; what
    # it brought is in the saved weights.
    parameters = {
        name: value for name, value in description.parameters.items() if name != "weights"
    }
    settings = ModelSettings(model=description.model, parameters=parameters)
    inputs = {spec.name: spec for spec in description.inputs}
    model = build_model(settings, inputs, description.output)
    # Keras loads a file of more layers than the model has without a word.
    if model.count_params() != description.parameter_count:
        raise ModelError(
            f"{directory}: the weights do not fit model {settings.model!r}, which now has "
            f"{model.count_params():,} where {description.parameter_count:,} were saved; "
            "did its builder change?"
        )
    try:
        model.load_weights(weights)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{directory}: the weights do not fit model {settings.model!r}; "
            f"did its builder change? ({str(error).splitlines()[0]})"
        ) from error
    return model


def _whole(path: str) -> keras.Model:
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def count_parameters(directory: str) -> int:
    """Number of weights of a model that `save_model` wrote, without building it.

    Raises:
      ModelError: There is no readable description.
    """
    return _read_description(directory).parameter_count


def _read_description(directory: str) -> _Description:
    import tensorflow as tf

    path = os.path.join(directory, _DESCRIPTION_FILE)
    try:
        with tf.io.gfile.GFile(path) as file:
            return _Description.model_validate_json(file.read())
    except ValidationError as error:
        reason = first_problem(error)
        raise ModelError(f"{path}: no readable model description ({reason})") from error
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{path}: no readable model description ({error})") from error


def _sha256(path: str) -> str:
    """Of a file wherever TensorFlow reads; "" if there is none."""
    import tensorflow as tf

    try:
        digest = hashlib.sha256()
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except tf.errors.OpError:
        return ""
    return digest.hexdigest()
