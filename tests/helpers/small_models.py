"""The built-in models, small enough for a test, and specifications of what they take."""

import json

import tensorflow as tf

from modules.data.spec import InputSpec, OutputSpec
from modules.models import storage, zoo
from modules.models.known import KnownModel
from modules.settings import ModelSettings

SMALL = {
    "resnet_small": {"widths": [4, 8], "blocks": 1},
    "separable_cnn": {"filters": [4, 8]},
    "cnn_tutorial": {"filters": [4, 8], "units": 6},
}


def image_input(shape=(8, 8, 1), name="image"):
    """The inputs of an image model, by name."""
    return {name: InputSpec(name=name, kind="image", feature=name, shape=shape, dtype="uint8")}


def class_output(classes=10, task="classification"):
    """The output for so many classes."""
    return OutputSpec(task=task, size=classes, classes=tuple(map(str, range(classes))))


def build(name, shape=(8, 8, 1), classes=10, **parameters):
    """An image model."""
    settings = ModelSettings(model=name, parameters=parameters)
    return zoo.build_model(settings, image_input(shape), class_output(classes))


def load_saved(directory):
    """A saved model, known to be what its own description says."""
    with tf.io.gfile.GFile(f"{directory}/model.json") as file:
        described = json.load(file)
    settings = ModelSettings(model=described["model"], parameters=described["parameters"])
    return storage.load_model(str(directory), KnownModel.of(settings))
