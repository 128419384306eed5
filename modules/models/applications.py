"""The networks of `keras.applications`, with the preprocessing that their weights expect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from modules.data.spec import InputSpec, OutputSpec
from modules.errors import ModelError, did_you_mean
from modules.models.image import BN_MOMENTUM
from modules.models.inputs import Inputs, answer, build, keras_inputs, require

if TYPE_CHECKING:
    import keras

# What each takes: `pixels` are scaled inside; `unit` is -1 ... 1; `torch` is standardized by the
# moments of ImageNet; `caffe` is BGR without the means of ImageNet.
_PIXELS, _UNIT, _TORCH, _CAFFE = "pixels", "unit", "torch", "caffe"
APPLICATIONS = {
    **{f"EfficientNetB{size}": _PIXELS for size in range(8)},
    **{f"EfficientNetV2{size}": _PIXELS for size in ("B0", "B1", "B2", "B3", "S", "M", "L")},
    **{f"ConvNeXt{size}": _PIXELS for size in ("Tiny", "Small", "Base", "Large", "XLarge")},
    **dict.fromkeys(("MobileNetV3Small", "MobileNetV3Large"), _PIXELS),
    **dict.fromkeys(("MobileNet", "MobileNetV2", "InceptionV3", "InceptionResNetV2"), _UNIT),
    **dict.fromkeys(("Xception", "NASNetMobile", "NASNetLarge"), _UNIT),
    **dict.fromkeys(("ResNet50V2", "ResNet101V2", "ResNet152V2"), _UNIT),
    **dict.fromkeys(("DenseNet121", "DenseNet169", "DenseNet201"), _TORCH),
    **dict.fromkeys(("ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19"), _CAFFE),
}


def keras_application(
    inputs: Inputs,
    output: OutputSpec,
    application: str = "MobileNetV3Small",
    weights: str | None = None,
    alpha: float | None = None,
    dropout: float = 0.0,
) -> keras.Model:
    """A network of `keras.applications` with a head of its own.

    Args:
      inputs: One image of 3 channels; most networks need 32x32 at least, Keras says which do not.
      output: What to answer.
      application: Its name, for example `EfficientNetV2B0`.
      weights: A `.weights.h5` file for the backbone without its head, or None to start from
        random weights. Nothing is downloaded.
      alpha: Width of a MobileNet in parts of the published one, for example 0.5.
      dropout: Share of the pooled features dropped while training.
    """
    import keras

    spec = _checked(inputs, application, weights)
    tensors = keras_inputs(inputs)
    backbone = getattr(keras.applications, application)(
        include_top=False,
        weights=weights,
        input_shape=spec.shape,
        pooling="avg",
        **({} if alpha is None else {"alpha": alpha}),
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # MobileNetV3 comes with 0.999: on some hundred images it answers one class for ever.
            layer.momentum = BN_MOMENTUM
    x = backbone(_prepared(tensors[spec.name], APPLICATIONS[application]))
    return build(application.lower(), tensors, answer(x, output, dropout))


def resnet50(inputs: Inputs, output: OutputSpec, weights: str | None = None) -> keras.Model:
    """`keras_application` with `application: ResNet50`.

    Args:
      inputs: One image of at least 32x32x3.
      output: What to answer.
      weights: A `.weights.h5` file for the backbone without its head, or None.
    """
    return keras_application(inputs, output, "ResNet50", weights)


def _checked(inputs: Inputs, application: str, weights: str | None) -> InputSpec:
    """The image, after everything is refused that Keras would fail on or download."""
    if application not in APPLICATIONS:
        raise ModelError(
            f"keras_application: application must be one of {', '.join(APPLICATIONS)}, got "
            f"{application!r}{did_you_mean(application, APPLICATIONS)}"
        )
    require(inputs, ["image"], application, most=1)
    (spec,) = inputs.values()
    if spec.shape[2] != 3 or min(spec.shape[:2]) < 32:
        raise ModelError(
            f"{application} needs images of at least 32x32 with 3 channels, got {spec.shape}; set "
            f"data.features.{spec.feature} to size: 32 or more and channels: 3"
        )
    if weights is not None and not os.path.isfile(weights):
        # Keras would take a name such as "imagenet" for a download.
        raise ModelError(
            f"{application}: weights must be an existing .weights.h5 file or null, got "
            f"{weights!r}; nothing is downloaded"
        )
    return spec


def _prepared(pixels: Any, how: str) -> Any:
    """Raw pixels as the published weights expect them."""
    from keras import layers

    if how == _PIXELS:
        return pixels
    if how == _UNIT:
        return layers.Rescaling(1 / 127.5, -1.0, name="preprocess")(pixels)
    if how == _CAFFE:
        return layers.Lambda(_bgr, output_shape=pixels.shape[1:], name="preprocess")(pixels)
    deviations = [0.229, 0.224, 0.225]
    return layers.Rescaling(
        [1 / 255 / deviation for deviation in deviations],
        [-mean / each for mean, each in zip([0.485, 0.456, 0.406], deviations, strict=True)],
        name="preprocess",
    )(pixels)


def _bgr(pixels: Any) -> Any:
    from keras import ops

    means = ops.convert_to_tensor([103.939, 116.779, 123.68], "float32")
    return ops.flip(ops.cast(pixels, "float32"), axis=-1) - means
