"""The eval split in two orders: whatever is compared is put into one."""

import numpy as np
import pytest
import tensorflow as tf
from image_data import image_spec

from modules.data.eval_split import EvalSplit, common_order, texts
from modules.errors import ConfigError
from modules.settings import DataSettings

SPEC = image_spec(2, classes=3)
# (id, label, light); the first two images are equal.
ROWS = [("b", 1, "day"), ("b", 0, "night"), ("a", 2, "day"), ("c", 0, "dusk"), ("d", 1, "day")]
TRANSFORMED_ORDER = [3, 1, 4, 2, 0]


def feature(value):
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def write(path, rows):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for row in rows:
            features = {name: feature(value) for name, value in row.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return str(path)


def pixels_of(identity):
    """Another image for every id."""
    return bytes([ord(identity), 0, 255, 7])


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    directory = tmp_path_factory.mktemp("split")
    raw = [
        {
            "image": b"png " + identity.encode(),
            "label": label,
            "example_id": identity.encode(),
            "light": light.encode(),
        }
        for identity, label, light in ROWS
    ]
    transformed = [
        {
            "image": pixels_of(ROWS[at][0]),
            "label": ROWS[at][1],
            "example_id": ROWS[at][0].encode(),
        }
        for at in TRANSFORMED_ORDER
    ]
    # Two files each, in the order of their names.
    raw_files = [write(directory / "raw-0", raw[:2]), write(directory / "raw-1", raw[2:])]
    write(directory / "transformed-0", transformed[:3])
    write(directory / "transformed-1", transformed[3:])
    return EvalSplit(raw_files, [str(directory / "transformed-*")], SPEC, DataSettings())


def of_all(batches, name):
    return np.concatenate([getattr(batch, name) for batch in batches])


def test_both_orders_lead_to_the_same_one(split):
    raw, transformed = list(split.serialized()), list(split.tensors())
    labels, ids = of_all(raw, "labels"), of_all(raw, "ids")
    assert labels.tolist() == [label for _, label, _ in ROWS]
    order = common_order(ids, labels)
    assert labels[order].tolist() == [2, 0, 1, 0, 1]
    assert b"".join(ids[order]).decode() == "abbcd"
    of_pixels = common_order(of_all(transformed, "ids"), of_all(transformed, "labels"))
    assert of_all(transformed, "labels")[of_pixels].tolist() == [2, 0, 1, 0, 1]
    pixels = np.concatenate([batch.examples["image"] for batch in transformed])
    shown = pixels[of_pixels][:, 0, 0, 0]
    assert bytes(shown.tolist()).decode() == "abbcd"


def test_texts_are_in_the_order_of_the_examples(split):
    found = texts(of_all(split.serialized(), "examples"), ["light", "label"])
    assert found["light"] == [light for _, _, light in ROWS]
    assert found["label"] == [str(label) for _, label, _ in ROWS]


def test_unknown_feature_lists_what_there_is(split):
    serialized = of_all(split.serialized(), "examples")
    with pytest.raises(ConfigError, match=r"'site' has 0 values.* are example_id, image, label"):
        texts(serialized, ["site"])


def test_first_examples(split):
    serialized = split.first_serialized(2)
    images = [
        tf.train.Example.FromString(each).features.feature["image"].bytes_list.value[0]
        for each in serialized
    ]
    assert images == [b"png b", b"png b"]
    (first,) = split.first_tensors(2).values()
    assert first.shape == (2, 2, 2, 1) and first.dtype == np.uint8
    assert first.tobytes() == pixels_of("c") + pixels_of("b")


def test_images_are_the_pixels_that_the_models_were_shown(split):
    images = split.images(["d", "b"])
    assert set(images) == {"b", "d"}
    for identity, image in images.items():
        assert tf.io.decode_png(image).numpy().tobytes() == pixels_of(identity)
