"""Networks of keras.applications and KerasHub: pixels as their weights expect, no download."""

import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from small_models import build, class_output, image_input

from modules.errors import ModelError
from modules.models import zoo
from modules.models.applications import APPLICATIONS
from modules.settings import ModelSettings

SHAPE = (32, 32, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)


def _application(name, **parameters):
    return build("keras_application", SHAPE, 7, application=name, **parameters)


def _prepared(model):
    """What the backbone is given."""
    return keras.Model(model.input, model.get_layer("preprocess").output)({"image": PIXELS})


def test_every_application_exists():
    assert all(hasattr(keras.applications, name) for name in APPLICATIONS)


def test_resnet50_counted():
    # 23,587,712 without its head is Keras' documented number; the head is 2048 x 7 + 7.
    model = build("resnet50", SHAPE, 7)
    assert model.count_params() == 23_587_712 + 2048 * 7 + 7
    expected = keras.applications.resnet50.preprocess_input(PIXELS.astype(np.float32))
    np.testing.assert_allclose(_prepared(model), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "module"), [("MobileNetV2", "mobilenet_v2"), ("DenseNet121", "densenet")]
)
def test_pixels_are_prepared_as_the_weights_expect(name, module):
    module = getattr(keras.applications, module)
    expected = module.preprocess_input(PIXELS.astype(np.float32))
    np.testing.assert_allclose(_prepared(_application(name)), expected, atol=1e-5)


def test_every_way_of_preparing_is_that_of_keras():
    """The table against Keras' own preprocess_input; those that return pixels scale inside."""
    modules = {
        "EfficientNetB": "efficientnet",
        "EfficientNetV2": "efficientnet_v2",
        "ConvNeXt": "convnext",
        "MobileNetV3": "mobilenet_v3",
        "MobileNetV2": "mobilenet_v2",
        "MobileNet": "mobilenet",
        "InceptionV3": "inception_v3",
        "InceptionResNetV2": "inception_resnet_v2",
        "Xception": "xception",
        "NASNet": "nasnet",
        "DenseNet": "densenet",
        "VGG16": "vgg16",
        "VGG19": "vgg19",
    }
    white = np.full((1, 2, 2, 3), 255, np.float32)
    found = {}
    for name in APPLICATIONS:
        default = "resnet_v2" if name.endswith("V2") else "resnet"
        module = next((modules[start] for start in modules if name.startswith(start)), default)
        prepared = getattr(keras.applications, module).preprocess_input(white.copy())
        found.setdefault(APPLICATIONS[name], set()).add(round(float(prepared[0, 0, 0, 0]), 2))
    assert found == {"pixels": {255}, "unit": {1}, "torch": {2.25}, "caffe": {151.06}}


def test_mobilenet_v3_learns_from_few_images():
    """With Keras' momentum of 0.999, inference would still use the first averages."""
    model = _application("MobileNetV3Small", alpha=0.35, dropout=0.2)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    momenta = {
        layer.momentum
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.9}


def test_alpha_makes_a_mobilenet_narrower():
    narrow, wide = (_application("MobileNet", alpha=alpha) for alpha in (0.25, None))
    # Keras' documented number for the whole width, without its head.
    assert wide.count_params() == 3_228_864 + 1024 * 7 + 7
    assert narrow.count_params() < wide.count_params() / 10


def test_weights_come_from_a_file(tmp_path):
    backbone = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=SHAPE, pooling="avg", alpha=0.25
    )
    path = str(tmp_path / "backbone.weights.h5")
    backbone.save_weights(path)
    model = _application("MobileNet", alpha=0.25, weights=path)
    loaded = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    for one, other in zip(backbone.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(16, 16, 3), (31, 64, 3), (32, 32, 1)])
def test_small_or_gray_images_are_refused(shape):
    with pytest.raises(ModelError, match=r"ResNet50 needs.*at least 32x32 with 3 channels") as e:
        build("resnet50", shape)
    assert str(shape) in str(e.value) and "data.features.image" in str(e.value)


def test_unknown_application_names_the_nearest():
    with pytest.raises(ModelError, match="got 'MobileNetV3Smal'; did you mean 'MobileNetV3Small'"):
        _application("MobileNetV3Smal")


@pytest.mark.parametrize("name", ["ResNet50", "EfficientNetB0"])
def test_nothing_is_downloaded(name, monkeypatch):
    def get_file(*args, **kwargs):
        raise RuntimeError("a download")

    monkeypatch.setattr(keras.src.applications.resnet.file_utils, "get_file", get_file)
    with pytest.raises(ModelError, match=r"weights must be an existing .* got 'imagenet'"):
        _application(name, weights="imagenet")


# -- KerasHub, which is not installed here; its part is played by what it would return --


def _hub(backbone, converter):
    def converter_of(preset):
        if converter is None:
            raise FileNotFoundError("no image_converter.json")
        return converter

    layers = SimpleNamespace(ImageConverter=SimpleNamespace(from_preset=converter_of))
    models = SimpleNamespace(Backbone=SimpleNamespace(from_preset=lambda preset: backbone))
    return {"keras_hub": SimpleNamespace(models=models, layers=layers), "keras_hub.layers": layers}


def _hub_model(monkeypatch, directory, backbone, converter):
    for name, module in _hub(backbone, converter).items():
        monkeypatch.setitem(sys.modules, name, module)
    settings = ModelSettings(model="keras_hub_backbone", parameters={"preset": str(directory)})
    return zoo.build_model(settings, image_input(SHAPE), class_output(3))


def _backbone(end):
    x = keras.Input((None, None, 3))
    return keras.Model(x, end(keras.layers.Conv2D(4, 3, strides=2)(x)))


@pytest.mark.parametrize(
    "end",
    [
        lambda x: x,
        lambda x: keras.layers.Reshape((-1, 4))(x),
        lambda x: keras.layers.GlobalMaxPooling2D()(x),
    ],
    ids=["feature map", "patches", "vector"],
)
@pytest.mark.parametrize("scale", [None, [0.01, 0.02, 0.03]])
def test_hub_backbone_with_its_own_scaling(monkeypatch, tmp_path, end, scale):
    backbone = _backbone(end)
    converter = SimpleNamespace(scale=scale, offset=[-1.0, -2.0, -3.0])
    model = _hub_model(monkeypatch, tmp_path, backbone, converter)
    x = backbone(PIXELS * np.float32(scale or 1) + np.float32([-1, -2, -3])).numpy()
    features = x.reshape(4, -1, x.shape[-1]).mean(1)
    kernel, bias = model.get_layer("logits").get_weights()
    expected = features @ kernel + bias
    np.testing.assert_allclose(model({"image": PIXELS}), expected, rtol=1e-3, atol=1e-3)


def test_hub_backbone_without_converter_takes_raw_pixels(monkeypatch, tmp_path):
    backbone = _backbone(lambda x: x)
    model = _hub_model(monkeypatch, tmp_path, backbone, None)
    features = backbone(PIXELS.astype(np.float32)).numpy().mean((1, 2))
    np.testing.assert_allclose(
        keras.Model(model.input, model.get_layer("features").output)({"image": PIXELS}),
        features,
        rtol=1e-3,
    )


def test_hub_that_is_missing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    settings = ModelSettings(model="keras_hub_backbone", parameters={"preset": str(tmp_path)})
    with pytest.raises(ModelError, match=r"needs the package keras-hub.*pip install keras-hub"):
        zoo.build_model(settings, image_input(SHAPE), class_output(3))


def test_hub_presets_are_not_downloaded():
    parameters = {"preset": "resnet_18_imagenet"}
    settings = ModelSettings(model="keras_hub_backbone", parameters=parameters)
    with pytest.raises(ModelError, match=r"existing directory, got 'resnet_18_imagenet'; nothing"):
        zoo.build_model(settings, image_input(SHAPE), class_output(3))
