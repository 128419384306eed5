"""The built-in models, small enough for a test."""

from modules.models import zoo
from modules.settings import ModelSettings

SMALL = {
    "resnet_small": {"widths": [4, 8], "blocks": 1},
    "cnn_small": {"filters": [4, 8]},
    "cnn_tutorial": {"filters": [4, 8], "units": 6},
}


def build(name, shape=(8, 8, 1), classes=10, **parameters):
    return zoo.build_model(ModelSettings(model=name, parameters=parameters), shape, classes)
