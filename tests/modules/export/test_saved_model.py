"""modules.export.saved_model: models of every task behind a real transform graph of every kind."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from mixed_models import OUTPUTS, build
from scipy.special import expit, softmax
from tensorflow_serving.apis import prediction_log_pb2
from transform_graphs import FEATURES
from transforming import serialize

from modules.data.features.decode import model_inputs
from modules.distill.saved_states import discard_exported
from modules.export import runtimes, saved_model, warmup
from modules.export.raw_features import RawFeature, raw_features

COUNT = 20


@pytest.fixture(scope="module", params=[*OUTPUTS])
def exported(request, mixed_graph, tmp_path_factory):
    """A specification, its model, and the directory of the SavedModel."""
    spec = mixed_graph.spec.model_copy(update={"output": OUTPUTS[request.param]})
    model = build(spec)
    directory = str(tmp_path_factory.mktemp(request.param) / "Format-Serving")
    saved_model.write_saved_model(model, spec, mixed_graph.directory, directory)
    return spec, model, directory


@pytest.mark.parametrize("how", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_state_of_a_training_outlives_a_model_that_could_not_be_written(
    tmp_path, monkeypatch, how
):
    """It goes when the model is written and published, and not before."""
    state = tmp_path / "node" / "resume" / "key" / "generation_1" / "state.npz"
    state.parent.mkdir(parents=True)
    state.touch()
    trained = SimpleNamespace(
        chief=True,
        model=None,
        settings=None,
        transform_graph="",
        state_dir=str(state.parents[1]),
    )

    def fail(*arguments):
        raise how

    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "export", fail)
        with pytest.raises(type(how)):
            saved_model.export_trained(trained, str(tmp_path))
    discard_exported(str(tmp_path / "node"))
    assert state.exists()
    monkeypatch.setattr(saved_model, "export", lambda *arguments: None)
    saved_model.export_trained(trained, str(tmp_path))
    discard_exported(str(tmp_path / "node"))
    assert not state.exists()


@pytest.fixture(scope="module")
def features(mixed_graph):
    graph = tft.TFTransformOutput(mixed_graph.directory)
    return raw_features(graph, mixed_graph.spec)


@pytest.fixture(scope="module")
def requests(mixed_graph):
    return [serialize(row) for row in mixed_graph.rows[:COUNT]]


@pytest.fixture(scope="module")
def expected(exported, mixed_graph, requests):
    """What the model answers to what Transform makes of the rows."""
    spec, model, _ = exported
    graph = tft.TFTransformOutput(mixed_graph.directory)
    raw = graph.raw_feature_spec()
    parsing = {name: each for name, each in raw.items() if name in FEATURES}
    layer = graph.transform_features_layer()
    inputs = model_inputs(layer(tf.io.parse_example(requests, parsing)), spec)
    answers = model.predict({name: value.numpy() for name, value in inputs.items()}, verbose=0)
    assert answers.std(axis=0).min() > 0.02 * spec.output.deviation  # worth comparing
    return answers


def raw_batch(rows, features: list[RawFeature]):
    """The rows as the arguments of `serving_raw`, by hand."""
    batch = {}
    for each in features:
        lists = [row[each.name] for row in rows]
        spec = each.tensor_spec
        missing = b"" if spec.dtype == tf.string else float("nan")
        if each.many:
            length = max(map(len, lists))
            values = [one + [missing] * (length - len(one)) for one in lists]
        else:
            values = [one[0] if one else missing for one in lists]
        batch[each.argument] = tf.constant(values, spec.dtype)
    return batch


def test_both_signatures_answer_as_the_model(exported, mixed_graph, features, requests, expected):
    spec, _, directory = exported
    signatures = tf.saved_model.load(directory).signatures
    assert set(signatures) == {"serving_default", "serving_raw"}
    answers = [
        signatures["serving_default"](examples=tf.constant(requests)),
        signatures["serving_raw"](**raw_batch(mixed_graph.rows[:COUNT], features)),
    ]
    regression = spec.output.task == "regression"
    for found in answers:
        answer = {name: values.numpy() for name, values in found.items()}
        main = answer.pop("values" if regression else "logits")
        assert main.dtype == np.float32 and main.shape == (COUNT, spec.output.size)
        np.testing.assert_allclose(main, expected, rtol=1e-4, atol=1e-4)
        probabilities = expit(main) if spec.output.task == "multilabel" else softmax(main, axis=1)
        if not regression:
            np.testing.assert_allclose(answer.pop("probabilities"), probabilities, rtol=1e-5)
        if spec.output.task in ("classification", "binary"):
            names = [spec.output.classes[at].encode() for at in main.argmax(axis=1)]
            assert answer.pop("label").tolist() == names and len(set(names)) > 1
        assert not answer


def test_what_each_raw_feature_is_in_a_request(features):
    assert {each.name: (each.argument, each.tensor_spec.dtype.name) for each in features} == {
        "age": ("age", "float64"),
        "city": ("city", "string"),
        "code": ("code", "string"),
        "income": ("income", "float32"),
        "petal length (cm)": ("petal_length__cm_", "float32"),
        "photo": ("photo", "string"),
        "review": ("review", "string"),
        "score": ("score", "float32"),
        "tags": ("tags", "string"),
        "zip": ("zip", "int64"),
    }
    assert {each.name: each.tensor_spec.shape.rank for each in features if each.many} == {"tags": 2}
    assert {each.name for each in features if not each.optional} == {
        *("code", "petal length (cm)", "photo", "score", "zip")
    }


def test_arguments_are_names_that_tensorflow_takes(mixed_graph):
    parsing = {name: tf.io.FixedLenFeature([], tf.int64) for name in ("a b", "a_b", "ä", "_x")}

    class Output:
        def raw_feature_spec(self):
            return parsing

    spec = mixed_graph.spec.model_copy(update={"features": dict.fromkeys(parsing, FEATURES["age"])})
    found = {each.name: each.argument for each in raw_features(Output(), spec)}
    assert found == {"_x": "feature_x", "a b": "a_b", "a_b": "a_b_", "ä": "feature_"}


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["classification"], indirect=True)
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
np.savez(answers, one=one["logits"], logits=out["logits"])
assert not {"modules", "tensorflow_transform"} & set(sys.modules), "more than the SavedModel"
"""
    records, answers = str(tmp_path / "requests"), str(tmp_path / "answers.npz")
    with tf.io.TFRecordWriter(records) as writer:
        for request in requests:
            writer.write(request)
    done = subprocess.run(
        [sys.executable, "-c", code, exported[2], records, answers],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    answer = np.load(answers)
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer["one"], expected[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exported", ["regression"], indirect=True)
def test_a_tf1_session_finds_the_variables(exported, requests, expected):
    # As TFMA loads it. From a Keras model saved as it is, this session would miss the weights.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], exported[2])
        signature = meta.signature_def[saved_model.SIGNATURE]
        values = session.run(
            signature.outputs["values"].name, {signature.inputs["examples"].name: requests}
        )
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("exported", ["multilabel", "regression"], indirect=True)
def test_the_runtime_answers_what_example_gen_wrote(exported, mixed_graph, expected):
    # Labels and all, as the evaluator sends it.
    full = [serialize({**row, "label": [2]}) for row in mixed_graph.rows[:COUNT]]
    answers = runtimes.load("saved_model", exported[2]).answer(full)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exported", ["binary"], indirect=True)
def test_an_example_without_a_feature_that_all_have_is_an_error(exported):
    empty = tf.train.Example().SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="code"):
        runtimes.load("saved_model", exported[2]).answer([empty])


# -- warm-up --


def requests_of(directory):
    records = tf.data.TFRecordDataset(str(directory / "tf_serving_warmup_requests"))
    return [
        prediction_log_pb2.PredictionLog.FromString(each) for each in records.as_numpy_iterator()
    ]


@pytest.mark.parametrize("exported", ["classification"], indirect=True)
def test_warmup_requests_are_answered_by_both_signatures(
    exported, features, mixed_graph, expected, tmp_path
):
    full = [serialize({**row, "label": [2]}) for row in mixed_graph.rows[:5]]
    warmup.write_requests(full, features, str(tmp_path / "new" / "warmup"))
    signatures = tf.saved_model.load(exported[2]).signatures
    logs = requests_of(tmp_path / "new" / "warmup")
    names = ["serving_default", "serving_raw"]
    assert [log.predict_log.request.model_spec.signature_name for log in logs] == 5 * names
    for at, log in enumerate(logs):
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert not request.model_spec.name  # whatever it is deployed as
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        arguments = {name: tf.constant(value) for name, value in inputs.items()}
        answer = signatures[request.model_spec.signature_name](**arguments)
        np.testing.assert_allclose(answer["logits"][0], expected[at // 2], rtol=1e-4, atol=1e-5)
        if "examples" in inputs:
            (sent,) = inputs["examples"]
            assert "label" not in tf.train.Example.FromString(sent).features.feature


def test_warmup_requests_are_the_same_bytes_every_time(features, requests, tmp_path):
    for name in ("one", "other"):
        warmup.write_requests(requests, features, str(tmp_path / name))
    one, other = (
        (tmp_path / name / "tf_serving_warmup_requests").read_bytes() for name in ("one", "other")
    )
    assert one == other
