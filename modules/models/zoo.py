"""Model builders by name. Every model takes raw `uint8` pixels and returns logits.

A builder is a function `(input_shape, classes, **parameters) -> keras.Model` whose model maps
`uint8 [batch, height, width, channels]` to float32 logits `[batch, classes]` and scales the
pixels itself, so that what is exported takes raw pixels. To add one, write the function here
and name it in `BUILDERS`; to use your own, write `model: "package.module:function"`. A parameter
called `weights` names a file to start from; when a trained model is loaded again it is left out.

Keras is imported inside the builders: a configuration's model names and parameters are checked
before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from modules.errors import ConfigError, ModelError, did_you_mean, raise_problems
from modules.settings import ModelSettings

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]
_KERAS_DIRECTORY = "Format-Keras"
_DESCRIPTION_FILE = "model.json"
_WEIGHTS_FILE = "model.weights.h5"
# Keras' 0.99 averages over hundreds of steps; a small data set has a few dozen in an epoch.
_BN_MOMENTUM = 0.9


def resnet_small(
    input_shape: Shape,
    classes: int,
    widths: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    dropout: float = 0.0,
) -> keras.Model:
    """Residual network for small images (He et al. 2016, 1512.03385, basic blocks).

    Args:
      input_shape: `(height, width, channels)`.
      classes: Number of logits.
      widths: Channels of each stage; every stage but the first halves height and width.
      blocks: Residual blocks per stage, two 3x3 convolutions each. `widths: [16, 32, 64]` and
        `blocks: 3` on 32x32x3 is the ResNet-20 of the paper.
      dropout: Share of the pooled features dropped while training.
    """
    from keras import layers

    inputs, x = _pixels(input_shape, scale=1 / 127.5, offset=-1.0)
    x = _conv_bn_relu(x, widths[0], name="stem")
    for stage, width in enumerate(widths):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if strides != 1 or x.shape[-1] != width:
                shortcut = layers.Conv2D(width, 1, strides, use_bias=False)(x)
                shortcut = layers.BatchNormalization(momentum=_BN_MOMENTUM)(shortcut)
            x = _conv_bn_relu(x, width, strides=strides)
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=_BN_MOMENTUM)(x)
            x = layers.ReLU(name=f"stage{stage + 1}_block{block + 1}")(layers.Add()([x, shortcut]))
    return _classifier("resnet_small", inputs, x, classes, dropout)


def cnn_small(
    input_shape: Shape,
    classes: int,
    filters: Sequence[int] = (16, 32),
    dropout: float = 0.0,
) -> keras.Model:
    """Small convolutional student: one 3x3 convolution per entry, then the mean over space.

    Args:
      input_shape: `(height, width, channels)`.
      classes: Number of logits.
      filters: Channels of each convolution; every one but the first halves height and width.
      dropout: Share of the pooled features dropped while training.
    """
    inputs, x = _pixels(input_shape, scale=1 / 127.5, offset=-1.0)
    for index, width in enumerate(filters):
        x = _conv_bn_relu(x, width, strides=1 if index == 0 else 2, name=f"block{index + 1}")
    return _classifier("cnn_small", inputs, x, classes, dropout)


def cnn_tutorial(
    input_shape: Shape,
    classes: int,
    filters: Sequence[int] = (32, 64),
    units: int = 64,
) -> keras.Model:
    """The tutorials' network: convolution and pooling blocks, then a dense layer.

    Args:
      input_shape: `(height, width, channels)`, for example 32x32x3.
      classes: Number of logits.
      filters: Channels of each 3x3 convolution; a 2x2 max-pooling follows each.
      units: Width of the dense layer.
    """
    import keras
    from keras import layers

    inputs, x = _pixels(input_shape, scale=1 / 255)
    for index, width in enumerate(filters):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{index + 1}")(x)
    x = layers.Dense(units, activation="relu", name="features")(layers.Flatten()(x))
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="cnn_tutorial")


def resnet50(
    input_shape: Shape,
    classes: int,
    weights: str | None = None,
) -> keras.Model:
    """`keras.applications.ResNet50` with a head of its own; any size from 32x32x3 on.

    Args:
      input_shape: `(height, width, 3)`, at least 32 each.
      classes: Number of logits.
      weights: A `.weights.h5` file for the backbone without its head, or None to start from
        random weights. Nothing is downloaded.
    """
    import keras
    from keras import layers

    if input_shape[2] != 3 or min(input_shape[:2]) < 32:
        raise ModelError(
            f"resnet50 needs images of at least 32x32 with 3 channels, got {input_shape}; "
            "set data.image_size: 32 or more and data.channels: 3"
        )
    if weights is not None and not os.path.isfile(weights):
        # Keras would take a name such as "imagenet" for a download.
        raise ModelError(
            f"resnet50: weights must be an existing .weights.h5 file or null, got {weights!r}; "
            "nothing is downloaded"
        )
    inputs = keras.Input(input_shape, dtype="uint8", name="image")
    # The published weights expect BGR with the ImageNet means taken off.
    x = layers.Lambda(_imagenet_bgr, output_shape=input_shape, name="preprocess")(inputs)
    backbone = keras.applications.ResNet50(
        include_top=False, weights=weights, input_shape=input_shape, pooling="avg"
    )
    logits = layers.Dense(classes, dtype="float32", name="logits")(backbone(x))
    return keras.Model(inputs, logits, name="resnet50")


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
    except (TypeError, ValueError, IndexError) as error:
        # Keras spreads its reasons over several lines, the first of which seldom is one.
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"model {settings.model!r} with parameters {settings.parameters} cannot be built for "
            f"input {input_shape} and {classes} classes: {reason}"
        ) from error
    output = tuple(getattr(model, "output_shape", ()))
    if output != (None, classes):
        raise ModelError(
            f"model {settings.model!r} must return logits of shape (None, {classes}), one for "
            f"each class of the data, but returns {output}; end it with Dense(classes)"
        )
    if tuple(model.input_shape) != (None, *input_shape):
        raise ModelError(
            f"model {settings.model!r} must take pixels of shape {(None, *input_shape)}, "
            f"but takes {model.input_shape}; build its Input from input_shape"
        )
    return model


def keras_directory(serving_dir: str) -> str:
    """Where the weights of the model lie whose SavedModel is at `serving_dir`."""
    return os.path.join(os.path.dirname(serving_dir.rstrip("/")), _KERAS_DIRECTORY)


def save_model(
    model: keras.Model, settings: ModelSettings, input_shape: Shape, directory: str
) -> None:
    """Write a description and the weights, from which `load_model` builds the model again."""
    import tensorflow as tf

    tf.io.gfile.makedirs(directory)
    description = {
        "model": settings.model,
        "parameters": settings.parameters,
        "input_shape": input_shape,
        "classes": model.output_shape[-1],
        "parameter_count": model.count_params(),
    }
    with tf.io.gfile.GFile(os.path.join(directory, _DESCRIPTION_FILE), "w") as file:
        json.dump(description, file, indent=2)
    model.save_weights(os.path.join(directory, _WEIGHTS_FILE))


def load_model(directory: str) -> keras.Model:
    """Build and load a model that `save_model` wrote.

    Raises:
      ModelError: The files are missing, or do not belong to what the builder now builds.
    """
    description = _read_description(directory)
    # `weights` names the file that a training began with, which need not be here any more; what
    # it brought is in the saved weights.
    parameters = {
        name: value for name, value in description["parameters"].items() if name != "weights"
    }
    settings = ModelSettings(model=description["model"], parameters=parameters)
    model = build_model(settings, tuple(description["input_shape"]), description["classes"])
    # Keras loads a file of more layers than the model has without a word.
    if model.count_params() != description["parameter_count"]:
        raise ModelError(
            f"{directory}: the weights do not fit model {settings.model!r}, which now has "
            f"{model.count_params():,} where {description['parameter_count']:,} were saved; "
            "did its builder change?"
        )
    try:
        model.load_weights(os.path.join(directory, _WEIGHTS_FILE))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{directory}: the weights do not fit model {settings.model!r}; "
            f"did its builder change? ({str(error).splitlines()[0]})"
        ) from error
    return model


def count_parameters(directory: str) -> int:
    """Number of weights of a model that `save_model` wrote, without building it.

    Raises:
      ModelError: There is no readable description.
    """
    return int(_read_description(directory)["parameter_count"])


def _read_description(directory: str) -> dict[str, Any]:
    import tensorflow as tf

    path = os.path.join(directory, _DESCRIPTION_FILE)
    try:
        with tf.io.gfile.GFile(path) as file:
            description = json.load(file)
        missing = {"model", "parameters", "input_shape", "classes", "parameter_count"} - set(
            description
        )
        if missing or not isinstance(description, dict):
            raise ValueError(f"it lacks {', '.join(sorted(missing)) or 'all keys'}")
    except (OSError, ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelError(f"{path}: no readable model description ({error})") from error
    return description


def _find_builder(name: str) -> Callable[..., keras.Model]:
    if name in BUILDERS:
        return BUILDERS[name]
    module_name, _, function_name = name.partition(":")
    try:
        builder = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"model {name!r} must be a name of the model zoo ({', '.join(sorted(BUILDERS))}) or "
            f"package.module:function that Python can import, but: {error}"
        ) from error
    return builder


def _pixels(input_shape: Shape, scale: float, offset: float = 0.0) -> tuple[Any, Any]:
    """The input of raw pixels and the same scaled."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, dtype="uint8", name="image")
    return inputs, layers.Rescaling(scale, offset, name="scale")(inputs)


def _conv_bn_relu(x: Any, filters: int, strides: int = 1, name: str | None = None) -> Any:
    """Convolution, normalisation, ReLU; `name` is the ReLU's, by which features are found."""
    from keras import layers

    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU(name=name)(layers.BatchNormalization(momentum=_BN_MOMENTUM)(x))


def _classifier(name: str, inputs: Any, x: Any, classes: int, dropout: float) -> keras.Model:
    import keras
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    # float32 whatever the policy: a softmax of half-precision logits loses the small classes.
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name=name)


def _imagenet_bgr(pixels: Any) -> Any:
    from keras import ops

    means = ops.convert_to_tensor([103.939, 116.779, 123.68], "float32")
    return ops.flip(ops.cast(pixels, "float32"), axis=-1) - means
