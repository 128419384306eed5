"""modules.export.saved_model: a model exported with the real Transform graph of the digits."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from scipy.special import softmax
from tensorflow_serving.apis import prediction_log_pb2

from modules.data.examples import ExampleData
from modules.distill.training_config import TrainingConfig
from modules.export import runtimes, saved_model
from modules.models import storage, zoo
from modules.settings import ModelSettings

SETTINGS = ModelSettings(model="cnn_small", parameters={"filters": [4, 8]})
COUNT = 30


@pytest.fixture(scope="module")
def exported(transformed_digits, tmp_path_factory):
    """A model whose every weight is random, moving averages too; and where it was exported."""
    model = zoo.build_model(SETTINGS, (8, 8, 1), 10)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
    directory = str(tmp_path_factory.mktemp("model") / "Format-Serving")
    graph = tft.TFTransformOutput(transformed_digits.graph_dir)
    saved_model.export(model, SETTINGS, graph, directory)
    return model, directory


@pytest.fixture(scope="module")
def requests(transformed_digits):
    """Serialized examples that hold the encoded image and nothing else."""

    def example(image):
        image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
        return tf.train.Example(features=tf.train.Features(feature={"image": image}))

    return [example(row["image"]).SerializeToString() for row in transformed_digits.raw[:COUNT]]


@pytest.fixture(scope="module")
def expected(exported, digit_pixels):
    logits = exported[0].predict(digit_pixels[:COUNT], verbose=0)
    assert len(np.unique(logits.argmax(1))) > 1 and np.ptp(logits) > 0.1  # worth comparing
    return logits


@pytest.mark.slow
def test_a_fresh_process_serves_it(exported, requests, expected, tmp_path):
    code = """
import sys
import numpy as np
import tensorflow as tf
directory, records, answers = sys.argv[1:]
signature = tf.saved_model.load(directory).signatures["serving_default"]
examples = list(tf.data.TFRecordDataset(records).as_numpy_iterator())
out = signature(examples=tf.constant(examples))
one = signature(examples=tf.constant(examples[:1]))
np.savez(answers, one=one["logits"], **{name: value.numpy() for name, value in out.items()})
assert not {"modules", "tensorflow_transform"} & set(sys.modules), "more than the SavedModel"
"""
    records, answers = str(tmp_path / "requests"), str(tmp_path / "answers.npz")
    with tf.io.TFRecordWriter(records) as writer:
        for request in requests:
            writer.write(request)
    done = subprocess.run(
        [sys.executable, "-c", code, exported[1], records, answers],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    answer = np.load(answers)
    assert set(answer) == {"one", "logits", "probabilities"}
    assert answer["logits"].dtype == answer["probabilities"].dtype == np.float32
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer["one"], expected[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(answer["probabilities"], softmax(answer["logits"], 1), rtol=1e-5)


def test_a_tf1_session_finds_the_variables(exported, requests, expected):
    # As TFMA loads it. From a Keras model saved as it is, this session would miss the weights.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], exported[1])
        signature = meta.signature_def[saved_model.SIGNATURE]
        logits = session.run(
            signature.outputs["logits"].name, {signature.inputs["examples"].name: requests}
        )
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_predictor_answers_as_the_signature(exported, requests, expected):
    logits = runtimes.load("saved_model", exported[1]).answer(requests)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_full_example_is_answered_alike(exported, transformed_digits, expected):
    # The evaluator sends what ExampleGen wrote, labels and all.
    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={name: feature(value) for name, value in row.items()}
            )
        ).SerializeToString()
        for row in transformed_digits.raw[:COUNT]
    ]
    logits = runtimes.load("saved_model", exported[1]).answer(examples)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_an_example_without_its_image_is_an_error(exported):
    empty = tf.train.Example().SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="image"):
        runtimes.load("saved_model", exported[1]).answer([empty])


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_weights_lie_beside_the_saved_model(exported, slash):
    model, directory = exported
    beside = storage.keras_directory(directory + slash)
    assert beside == directory.replace("Format-Serving", "Format-Keras")
    loaded = storage.load_model(beside)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# -- warm-up --


def warmup_file(directory):
    from tfx.utils import path_utils

    return path_utils.warmup_file_path(directory)


@pytest.fixture(scope="module")
def warm(exported, digit_pixels, tmp_path_factory):
    """A copy of the SavedModel that has warm-up requests."""
    directory = str(tmp_path_factory.mktemp("warm") / "Format-Serving")
    shutil.copytree(exported[1], directory)
    saved_model.write_warmup_requests(digit_pixels[:5], directory)
    return directory


def requests_of(directory):
    records = tf.data.TFRecordDataset(warmup_file(directory)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_warmup_requests_are_answered_as_their_images(warm, expected):
    signatures = tf.saved_model.load(warm).signatures
    logs = requests_of(warm)
    assert len(logs) == 5
    for log, logits in zip(logs, expected, strict=False):
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        assert not request.model_spec.name  # whatever it is deployed as
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        answer = signatures[request.model_spec.signature_name](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        assert answer["logits"].shape == (1, 10)
        # The pixels came through encoding, decoding and Transform as they were.
        np.testing.assert_allclose(answer["logits"][0], logits, rtol=1e-4, atol=1e-5)


def test_warmup_requests_are_the_same_bytes_every_time(warm, exported, digit_pixels, tmp_path):
    saved_model.write_warmup_requests(digit_pixels[:5], str(tmp_path))
    with open(warmup_file(warm), "rb") as one, open(warmup_file(str(tmp_path)), "rb") as other:
        assert one.read() == other.read()


def test_warmup_requests_leave_the_saved_model_as_it_is(warm, exported):
    def files(directory):
        return {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in Path(directory).rglob("*")
            if path.is_file()
        }

    after = files(warm)
    assert after.pop("assets.extra/tf_serving_warmup_requests")
    assert after == files(exported[1])


def test_color_images_are_sent_losslessly(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    saved_model.write_warmup_requests(pixels, str(tmp_path))
    for log, image in zip(requests_of(str(tmp_path)), pixels, strict=True):
        (example,) = tf.make_ndarray(log.predict_log.request.inputs["examples"])
        feature = tf.train.Example.FromString(example).features.feature
        assert set(feature) == {"image"}
        encoded = feature["image"].bytes_list.value[0]
        np.testing.assert_array_equal(tf.io.decode_image(encoded), image)


@pytest.mark.slow
def test_a_trainer_leaves_a_warm_saved_model(transformed_digits, tmp_path):
    from modules.teacher_trainer import run_fn

    settings = ModelSettings(**SETTINGS.model_dump(exclude={"train"}), train={"epochs": 0})
    directory = str(tmp_path / "Format-Serving")
    config = TrainingConfig(model=settings, data=transformed_digits.settings, checkpoint_seconds=0)
    fn_args = SimpleNamespace(
        train_files=[transformed_digits.pattern],
        transform_graph_path=transformed_digits.graph_dir,
        serving_model_dir=directory,
        model_run_dir=str(tmp_path / "node" / "model_run" / "1"),
        hyperparameters=None,
        custom_config=config.model_dump(mode="json"),
    )
    run_fn(fn_args)
    logs = requests_of(directory)
    assert len(logs) == 8
    predictor = runtimes.load("saved_model", directory)
    ((pixels, _, _),) = ExampleData(fn_args.train_files, transformed_digits.settings).everything(
        200
    )
    model = storage.load_model(storage.keras_directory(directory))
    examples = [tf.make_ndarray(log.predict_log.request.inputs["examples"])[0] for log in logs]
    np.testing.assert_allclose(
        predictor.answer(examples),
        model.predict(pixels[:8], verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )
