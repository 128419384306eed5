"""One process of `test_training.py`: a whole training through files, and its peak memory.

The examples are as many as asked for, a third of them unlabeled; nothing of them is kept in memory
between epochs.
"""

import resource
import sys

import keras
import numpy as np
import tensorflow as tf
from image_data import image_spec

from modules.data import examples
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.settings import AugmentSettings, DataSettings, TrainSettings
from modules.teachers import soft_targets
from modules.teachers.cache import SoftTargetCache

# Half of the labeled examples are for validation, so that each part is a third.
SETTINGS = DataSettings(validation_fraction=0.5)
SPEC = image_spec(64, 3)
SHAPE = (64, 64, 3)


def write(path, count, shape):
    """Plain images, which compress to nearly nothing: the file is small, the examples are not."""
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions("GZIP", compression_level=1)) as writer:
        for index in range(count):
            pixels = bytes([index % 256]) * int(np.prod(shape))
            values = {"image": pixels, "example_id": b"%064d" % index}
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in values.items()
            }
            label = tf.train.Int64List(value=[index % 10])
            features["label"] = tf.train.Feature(int64_list=label)
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def _model():
    inputs = keras.Input(SHAPE, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def main(directory, count):
    examples._CACHE_LIMIT = 0
    examples._SHUFFLE_BYTES = 256 * int(np.prod(SHAPE))
    files, unlabeled = [f"{directory}/examples.gz"], [f"{directory}/unlabeled.gz"]
    write(files[0], int(count) * 2 // 3, SHAPE)
    write(unlabeled[0], int(count) // 3, SHAPE)
    answers = f"{directory}/soft_targets"
    request = soft_targets.Request(0, AugmentSettings(), 0)
    every = examples.ExampleData(files, SPEC, SETTINGS, unlabeled_patterns=unlabeled)
    soft_targets.compute([_model()], every, request, answers)
    data = examples.ExampleData(files, SPEC, SETTINGS, SoftTargetCache(answers), unlabeled)
    distiller = Distiller(None, _model())
    training.fit(distiller, data, training.Plan(TrainSettings(epochs=2), 0, None))
    # Linux counts in KiB.
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
