"""Transformed examples in files, as Transform writes them."""

import os

import numpy as np
import tensorflow as tf

from modules.data import splits


def write_examples(directory, pixels, labels, numbers, files=1):
    """Writes transformed examples as Transform does; an example's number decides its id.

    Returns a pattern that matches the files.
    """
    os.makedirs(directory)
    for index, part in enumerate(np.array_split(np.arange(len(numbers)), files)):
        path = os.path.join(directory, f"part-{index:05d}.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for row in part:
                writer.write(example(pixels[row], int(labels[row]), int(numbers[row])))
    return os.path.join(directory, "part*")


def example(pixels, label, number):
    values = {"image": pixels.tobytes(), "example_id": splits.example_id(b"%d" % number)}
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in values.items()
    }
    features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
