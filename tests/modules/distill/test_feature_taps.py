"""modules.distill.feature_taps: layers found, tapped in one forward pass, projected, left clean."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from modules.distill.distiller import Distiller
from modules.distill.feature_taps import call_with_features, find_layer, projector
from modules.distill.keras_hooks import recorded
from modules.distill.targets import LABEL
from modules.errors import ConfigError


def _backbone(name, channels=3, inner="features"):
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(channels, 3, name=inner)(inputs)
    return keras.Model(inputs, layers.ReLU(name="relu")(x), name=name)


def _model(seed=0, channels=3, name="student"):
    """A model with a nested one, so that what is tapped lies two levels deep."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 1))
    x = _backbone("backbone", channels)(inputs)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name=name)


@keras.saving.register_keras_serializable("test_features")
class Subclassed(keras.Model):
    """A model that Keras knows no graph of."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.body = layers.Dense(5, activation="tanh", name="body")
        self.head = layers.Dense(4, name="head")

    def call(self, inputs):
        return self.head(self.body(inputs))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype(np.float32)


# -- Finding a layer --


@pytest.mark.parametrize("path", ["pooled", "backbone/features", "features", "backbone"])
def test_a_layer_is_found(path):
    model = _model()
    inner = model.get_layer("backbone")
    expected = {
        "pooled": model.get_layer("pooled"),
        "backbone": inner,
    }.get(path, inner.get_layer("features") if path.endswith("features") else None)
    assert find_layer(model, path, "argument") is expected


def test_a_name_that_occurs_twice_must_be_written_in_full():
    inputs = keras.Input((6, 6, 1))
    joined = layers.Concatenate()([_backbone(name)(inputs) for name in ("left", "right")])
    model = keras.Model(inputs, joined, name="two")
    with pytest.raises(ConfigError) as caught:
        find_layer(model, "features", "distill.methods.0.student_layer")
    message = str(caught.value)
    assert message.startswith("distill.methods.0.student_layer must name one layer of two")
    # Both candidates, before all others.
    assert "layers: left/features, right/features, " in message
    for side in ("left", "right"):
        expected = model.get_layer(side).get_layer("features")
        assert find_layer(model, f"{side}/features", "argument") is expected


def test_an_unknown_layer_lists_the_candidates_nearest_first():
    with pytest.raises(ConfigError) as caught:
        find_layer(_model(), "poled", "distill.methods.2.teacher_layer")
    message = str(caught.value)
    assert message.startswith("distill.methods.2.teacher_layer must name a layer of student, got")
    assert "'poled'; its layers: pooled, " in message and "\n" not in message
    for name in ("backbone", "backbone/features", "backbone/relu", "logits"):
        assert message.count(f" {name}") >= 1


def test_names_that_keras_made_up_are_not_offered():
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(2, 3)(inputs)))
    x = layers.PReLU(name="body")(layers.Conv2DTranspose(2, 3)(x))
    x = layers.PReLU()(layers.ReLU(name="relu")(x))
    logits = layers.Dense(3, name="dense_a")(layers.GlobalMaxPooling2D()(x))
    model = keras.Model(inputs, logits, name="student")
    with pytest.raises(ConfigError) as caught:
        find_layer(model, "conv2d_99", "argument")
    message = str(caught.value)
    assert "; its layers: image, body, relu, dense_a; 6 without a name" in message
    assert message.endswith(": name the layer where it is built") and "\n" not in message
    unnamed = keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="plain")
    with pytest.raises(ConfigError, match=r"its layers: none named; 1 without a name"):
        find_layer(unnamed, "x", "argument")


# -- Taps --


def test_outputs_are_those_of_the_layer(pixels):
    model = _model()
    inner = model.get_layer("backbone").get_layer("features")
    layers_ = [inner, model.get_layer("pooled"), inner]
    output, (seen, pooled, same) = call_with_features(model, layers_, pixels, training=False)
    again = call_with_features(model, [inner], pixels + 1, training=False)[1][0]
    np.testing.assert_array_equal(output, model(pixels))
    assert same is seen
    # Second formulation: the layer by itself.
    np.testing.assert_allclose(seen, inner(pixels), rtol=1e-6)
    np.testing.assert_allclose(again, inner(pixels + 1), rtol=1e-6)
    np.testing.assert_allclose(pooled, np.maximum(seen, 0).mean((1, 2)), rtol=1e-5)


def test_outputs_of_a_subclassed_model():
    model = Subclassed()
    rows = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    model(rows)
    body = find_layer(model, "body", "argument")
    assert body is model.body
    (seen,) = call_with_features(model, [body], rows, training=False)[1]
    kernel, bias = body.get_weights()
    np.testing.assert_allclose(seen, np.tanh(rows @ kernel + bias), rtol=1e-5)


def test_nothing_remains_of_the_taps(pixels, tmp_path):
    model = _model()
    inner = model.get_layer("backbone").get_layer("features")
    before, attributes = model(pixels).numpy(), set(vars(inner))
    with recorded([inner]) as outputs:
        assert "call" in vars(inner)
        model(pixels)
    assert "call" not in vars(inner) and inner.call.__func__ is layers.Conv2D.call
    assert set(vars(inner)) == attributes
    assert outputs[id(inner)].shape == (8, 4, 4, 3)
    with pytest.raises(RuntimeError, match="boom"), recorded([inner]):
        raise RuntimeError("boom")
    assert "call" not in vars(inner)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pixels), before)


# -- Projectors --


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((None, 8), (None, 5)),
        ((None, 4, 4, 3), (None, 4, 4, 6)),
        ((None, 6, 5, 3), (None, 3, 2, 3)),
        ((None, 2, 2, 8), (None, 4, 6, 2)),
    ],
)
def test_a_projector_gives_the_teachers_shape(student, teacher):
    model = projector(student, teacher)
    features = np.random.default_rng(0).normal(size=(3, *student[1:])).astype(np.float32)
    projected = model(features, training=True)
    assert projected.shape == (3, *teacher[1:])
    # Normalized over the batch: mean 0 and variance 1 of every channel.
    axes = tuple(range(len(teacher) - 1))
    np.testing.assert_allclose(np.mean(projected, axis=axes), 0, atol=1e-5)
    assert (np.var(projected, axis=axes) < 1.01).all()
    kernels = [weight.shape for weight in model.trainable_weights]
    size = (1, 1) if len(student) == 4 else ()
    assert kernels == [(*size, student[-1], teacher[-1]), (teacher[-1],), (teacher[-1],)]


@pytest.mark.parametrize("shape", [(None, 8), (None, 4, 4, 3)])
def test_equal_shapes_need_no_projector(shape):
    assert projector(shape, (32, *shape[1:])) is None


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((None, 4, 4, 3), (None, 3)), ((None, 3), (None, 4, 4, 3)), ((None, 5, 3), (None, 5, 4))],
)
def test_ranks_that_do_not_correspond(student, teacher):
    with pytest.raises(ConfigError) as caught:
        projector(student, teacher)
    message = str(caught.value)
    assert str(student) in message and str(teacher) in message and "\n" not in message


# -- In a training --


def _hint(**changes):
    names = {"student_layer": "features", "teacher_layer": "backbone/features"}
    return ["soft_target", {"name": "hint", **names, **changes}]


@pytest.fixture
def distiller():
    return Distiller(_model(1, 7, "teacher"), _model(0, 3), _hint())


def _data(pixels, size=4):
    labels = np.arange(len(pixels)) % 4
    return tf.data.Dataset.from_tensor_slices((pixels, {LABEL: labels})).batch(size)


def test_a_projector_learns_but_is_not_the_students(distiller, pixels, tmp_path):
    student = distiller.student
    (name, built), *others = distiller.projectors.items()
    assert name == "hint" and not others
    weights = {id(variable) for variable in built.variables}
    assert weights <= {id(variable) for variable in distiller.variables}
    assert not weights & {id(variable) for variable in student.variables}
    before = built.get_weights()
    distiller.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = distiller.fit(_data(pixels), epochs=3, verbose=0).history
    for old, new in zip(before, built.get_weights(), strict=True):
        assert not np.array_equal(old, new)  # moving averages included
    assert history["hint_loss"][-1] < history["hint_loss"][0]
    student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert [v.shape for v in loaded.variables] == [v.shape for v in _model().variables]
    np.testing.assert_allclose(loaded(pixels), student(pixels), rtol=1e-6)
    # A trained student is served without a trace of the taps.
    exported = tf.function(lambda images: student(images, training=False))
    graph = exported.get_concrete_function(tf.TensorSpec((None, 6, 6, 1))).graph
    assert not any("projector" in operation.name for operation in graph.get_operations())


@pytest.mark.parametrize("wrong", [{"student_layer": "x"}, {"teacher_layer": "x"}])
def test_an_unknown_layer_is_told_with_its_place(wrong):
    (key,) = wrong
    with pytest.raises(ConfigError, match=rf"^methods\.1\.{key} must name a layer of"):
        Distiller(_model(1, 7, "teacher"), _model(0), _hint(**wrong))


def test_the_student_runs_once_in_a_step(distiller, pixels, monkeypatch):
    calls = {"student": 0, "teacher": 0}
    teacher = _model(1, 7, "teacher")
    distiller = Distiller(teacher, distiller.student, _hint())

    def counted(layer, role):
        original = layer.call

        def call(*args, **kwargs):
            calls[role] += 1
            return original(*args, **kwargs)

        object.__setattr__(layer, "call", call)

    # Of what surrounds the tapped layer, so that the taps are not disturbed.
    counted(distiller.student.get_layer("pooled"), "student")
    counted(teacher.get_layer("pooled"), "teacher")
    distiller.compile(keras.optimizers.Adam(), jit_compile=False)
    # Keras runs eagerly what it is told to run eagerly: one call for each step.
    distiller.run_eagerly = True
    distiller.fit(_data(pixels), epochs=2, verbose=0)
    steps = 2 * 2
    # One more of each where Keras builds the model before the first step.
    assert steps <= calls["student"] <= steps + 1
    assert calls["teacher"] == calls["student"]


def test_gradients_reach_the_tapped_layer_of_the_student_alone(distiller, pixels):
    student = distiller.student
    teacher = _model(2, 7, "teacher")
    kernel = find_layer(student, "features", "argument").kernel
    # Of the hint alone: alpha is 0, and the soft target has no weight.
    methods = [{"name": "soft_target", "weight": 0}, _hint()[1]]
    distiller = Distiller(teacher, student, methods, alpha=0)
    with tf.GradientTape() as tape:
        logits = distiller(pixels, training=True)
        loss = distiller.compute_loss(pixels, np.zeros(8, int), logits)
    gradients = tape.gradient(loss, [kernel.value, *(v.value for v in teacher.variables)])
    assert np.abs(gradients[0]).max() > 0
    assert gradients[1:] == [None] * len(teacher.variables)
