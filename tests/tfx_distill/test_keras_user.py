"""`Distiller` as a Keras user has it: arrays and tf.data, without a pipeline."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_digits

import tfx_distill as td

COUNT, CLASSES = 96, 10
HINT = {"name": "hint", "weight": 1, "student_layer": "body", "teacher_layer": "body"}


@pytest.fixture(scope="module")
def digits():
    images = np.rint(load_digits().images[:COUNT] * 255 / 16).astype(np.uint8)[..., None]
    return images, load_digits().target[:COUNT]


def _model(seed, width=4, dropout=0.2):
    """With state and noise, both of which only training may touch."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.BatchNormalization(momentum=0.5)(layers.Conv2D(width, 3, strides=2)(x))
    x = layers.ReLU(name="body")(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="pooled")(x))
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=f"model_{seed}")


def _compiled(teacher, student, *, optimizer=None, metrics=None, **arguments):
    distiller = td.Distiller(teacher, student, **arguments)
    distiller.compile(optimizer or keras.optimizers.Adam(0.01), metrics=metrics)
    return distiller


def _weights(model):
    return [weight.copy() for weight in model.get_weights()]


def _equal(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def _soft_loss(student, teacher, labels, alpha=0.1, temperature=4.0):
    """The objective per example, in NumPy."""
    hard = -log_softmax(student.astype(float), axis=1)[np.arange(len(labels)), labels]
    taught = softmax(teacher.astype(float) / temperature, axis=1)
    learned = log_softmax(student.astype(float) / temperature, axis=1)
    divergence = (taught * (np.log(taught) - learned)).sum(axis=1)
    return alpha * hard + (1 - alpha) * temperature**2 * divergence


# -- Fit, evaluate, predict --


def test_arrays_and_tf_data_are_one_training(digits):
    images, labels = digits
    results = []
    for data in (
        {"x": images, "y": labels, "batch_size": 32},
        {"x": images, "y": {"label": labels}, "batch_size": 32},
        {"x": tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)},
        {"x": images, "y": labels[:, None], "batch_size": 32},
    ):
        distiller = _compiled(_model(1, 8), _model(0), optimizer=keras.optimizers.SGD(0.05))
        history = distiller.fit(
            **data, epochs=2, validation_data=(images, labels), shuffle=False, verbose=0
        ).history
        results.append((history, _weights(distiller.student)))
    first, *others = results
    assert set(first[0]) == {
        prefix + name
        for prefix in ("", "val_")
        for name in ("loss", "accuracy", "hard_loss", "soft_target_loss")
    }
    for other in others:
        for name, values in other[0].items():
            np.testing.assert_allclose(values, first[0][name], rtol=1e-4, err_msg=name)
        for one, another in zip(other[1], first[1], strict=True):
            np.testing.assert_allclose(one, another, rtol=1e-4, atol=1e-6)


def test_a_hand_written_loop_is_the_same_training(digits):
    """Second formulation: plain SGD on the gradient of the objective, written out."""
    images, labels = digits
    teacher = _model(1, 8)
    student, twin = (_model(0, dropout=0.0) for _ in range(2))  # no noise: both see the same
    distiller = _compiled(teacher, student, optimizer=keras.optimizers.SGD(0.05), alpha=0.3)
    distiller.fit(images, labels, batch_size=32, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        for start in range(0, COUNT, 32):
            x, y = images[start : start + 32], labels[start : start + 32]
            taught = tf.nn.softmax(teacher(x, training=False) / 4)
            with tf.GradientTape() as tape:
                logits = twin(x, training=True)
                hard = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
                cross = -tf.reduce_sum(taught * tf.nn.log_softmax(logits / 4), axis=1)
                loss = tf.reduce_mean(0.3 * hard + 0.7 * 16 * cross)
            gradients = tape.gradient(loss, [v.value for v in twin.trainable_variables])
            for variable, gradient in zip(twin.trainable_variables, gradients, strict=True):
                variable.assign_sub(0.05 * gradient)
    for one, other in zip(student.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_predict_and_the_student_alone_give_the_same_logits(digits, tmp_path):
    images, labels = digits
    distiller = _compiled(_model(1, 8), _model(0), methods=["soft_target", HINT])
    distiller.fit(images, labels, epochs=1, verbose=0)
    logits = distiller.predict(images, verbose=0)
    assert logits.shape == (COUNT, CLASSES)
    np.testing.assert_array_equal(logits, distiller.student.predict(images, verbose=0))
    assert not any("call" in vars(layer) for layer in distiller.student.layers)
    distiller.student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(logits, loaded.predict(images, verbose=0))


@pytest.mark.parametrize("methods", ["soft_target", ["dist", HINT]], ids=["logits", "features"])
def test_evaluate_changes_nothing_and_repeats_itself(digits, methods):
    images, labels = digits
    teacher = _model(1, 8)
    distiller = _compiled(teacher, _model(0), methods=methods)
    distiller.fit(images, labels, epochs=1, verbose=0)
    before = _weights(distiller), _weights(teacher)
    first = distiller.evaluate(images, labels, return_dict=True, verbose=0)
    assert first == distiller.evaluate(images, labels, return_dict=True, verbose=0)
    # Batch statistics of student, teacher and projector included.
    assert _equal(before[0], _weights(distiller)) and _equal(before[1], _weights(teacher))


@pytest.mark.parametrize("name", td.METHODS)
def test_every_method_is_fit_by_its_name(digits, name):
    images, labels = digits
    layers_ = {"student_layer": "body", "teacher_layer": "body"}
    method = {"name": name, **(layers_ if td.METHODS[name].features else {})}
    teacher, student = _model(1, 8), _model(0)
    before = _weights(teacher), _weights(student)
    # Without weight on the labels: what moves the student is the method alone.
    distiller = _compiled(teacher, student, methods=method, alpha=0)
    history = distiller.fit(images, labels, 32, 3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history[f"{name}_loss"][-1] < history[f"{name}_loss"][0]
    assert _equal(before[0], _weights(teacher)) and teacher.trainable
    kernels = [weight.ndim == 4 for weight in before[1]]
    for old, new, kernel in zip(before[1], _weights(student), kernels, strict=True):
        assert not kernel or not np.array_equal(old, new)


# -- What is given --


def test_sample_weights_and_labels_of_every_kind(digits):
    images, labels = digits
    weights = np.linspace(0, 2, COUNT).astype(np.float32)
    teacher, student = _model(1, 8), _model(0)
    answers = teacher.predict(images, verbose=0)
    each = _soft_loss(student.predict(images, verbose=0), answers, labels)
    one_hot = np.eye(CLASSES)[labels]
    given = {
        "ids": labels,
        "column": labels[:, None],
        "one-hot": one_hot,
        "dictionary": {"label": one_hot, "teacher_logits": answers},
        "as cached": {"label": labels, "teacher_logits": answers[:, None].astype(np.float16)},
    }
    for kind, y in given.items():
        distiller = _compiled(teacher, student)
        for sample_weight in (None, weights, weights[:, None]):
            flat = None if sample_weight is None else weights
            loss, *_ = distiller.evaluate(images, y, COUNT, 0, sample_weight)
            tolerance = 1e-3 if kind == "as cached" else 1e-5
            assert loss == pytest.approx(np.average(each, weights=flat), rel=tolerance), kind


def test_several_teachers_have_their_shares(digits):
    images, labels = digits
    teachers, student = [_model(1, 8), _model(2, 6)], _model(0)
    first, second = (softmax(t.predict(images, verbose=0) / 4.0, axis=1) for t in teachers)
    for given, shares in ((None, (0.5, 0.5)), ([3, 1], (0.75, 0.25))):
        distiller = _compiled(teachers, student, teacher_weights=given)
        combined = 4 * np.log(shares[0] * first + shares[1] * second)
        expected = _soft_loss(student.predict(images, verbose=0), combined, labels).mean()
        loss = distiller.evaluate(images, labels, COUNT, verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(expected, rel=1e-5)


def test_inputs_as_a_dictionary_with_a_feature_method():
    def model(seed, width):
        keras.utils.set_random_seed(seed)
        inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), name="b")}
        x = layers.Dense(width, name="body")(layers.Concatenate()(list(inputs.values())))
        return keras.Model(inputs, layers.Dense(4)(layers.ReLU()(x)))

    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(40, 3)), "b": rng.normal(size=(40, 2))}
    student = model(0, 5)
    distiller = _compiled(model(1, 7), student, methods=["soft_target", HINT])
    assert list(distiller.projectors) == ["hint"]
    history = distiller.fit(x, rng.integers(0, 4, 40), epochs=5, verbose=0).history
    assert history["hint_loss"][-1] < history["hint_loss"][0]
    assert distiller.predict(x, verbose=0).shape == (40, 4)


class Subclassed(keras.Model):
    """A model that Keras knows no graph of, and that is unbuilt until it is called."""

    def __init__(self):
        super().__init__()
        self.body = layers.Dense(6, activation="tanh", name="body")
        self.head = layers.Dense(3)

    def call(self, inputs):
        return self.head(self.body(inputs))


def test_subclassed_models_are_built_by_fit():
    x = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    relations = {**HINT, "name": "relational_distance"}
    student = Subclassed()
    distiller = _compiled(Subclassed(), student, methods=["soft_target", relations])
    distiller.fit(x, np.arange(30) % 3, epochs=2, verbose=0)
    assert student.built and len(student.trainable_variables) == 4
    with pytest.raises(td.UserError, match=r"must have inputs of known shape.*keras\.Input"):
        td.Distiller(Subclassed(), Subclassed(), methods=HINT)


# -- Metrics, callbacks, schedules --


def test_metrics_of_compile_are_given_the_students_logits(digits):
    images, labels = digits
    student = _model(0)
    top = keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")
    distiller = _compiled(_model(1, 8), student, metrics=["accuracy", top])
    logs = distiller.evaluate(images, labels, verbose=0, return_dict=True)
    logits = student.predict(images, verbose=0)
    ranks = np.argsort(-logits, axis=1)[:, :3]
    assert logs["top3"] == pytest.approx((ranks == labels[:, None]).any(axis=1).mean())
    assert logs["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())
    history = distiller.fit(
        images, labels, epochs=1, validation_data=(images, labels), verbose=0
    ).history
    assert {"top3", "val_top3"} <= set(history)


def test_callbacks_see_what_they_see_of_any_model(digits):
    images, labels = digits
    batches = []
    each_batch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batches.append(set(logs))
    )
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=0, baseline=0.0)
    distiller = _compiled(_model(1, 8), _model(0))
    history = distiller.fit(
        images,
        labels,
        epochs=9,
        callbacks=[each_batch, stopping],
        validation_split=0.25,
        verbose=0,
    )
    assert len(history.epoch) == 2  # nothing is below the baseline; Keras spares the first epoch
    assert batches[-1] == {"loss", "accuracy", "hard_loss", "soft_target_loss"}
    assert len(batches) == 2 * 3  # 72 examples in batches of 32
    # A single one, outside a list, is fine with Keras too.
    distiller.fit(images, labels, callbacks=each_batch, verbose=0)
    assert len(batches) == 2 * 3 + 3


def test_schedules_end_with_the_last_epoch_of_each_fit(digits):
    images, labels = digits
    method = {"name": "soft_target", "temperature": 6, "final_temperature": 2, "warmup_epochs": 2}
    teacher, student = _model(1, 8), _model(0, dropout=0.0)
    frozen = keras.optimizers.SGD(0.0)
    distiller = _compiled(teacher, student, optimizer=frozen, methods=method, alpha=0)
    for layer in student.layers:
        layer.trainable = False  # no statistics move either: all epochs see one student
    logits = student.predict(images, verbose=0)
    answers = teacher.predict(images, verbose=0)
    for temperatures in ((6, 4, 2), (6, 2)):
        history = distiller.fit(images, labels, COUNT, len(temperatures), verbose=0).history
        for epoch, temperature in enumerate(temperatures):
            by_hand = _soft_loss(logits, answers, labels, 0, temperature).mean()
            share = min((epoch + 1) / 2, 1)
            assert history["soft_target_loss"][epoch] == pytest.approx(by_hand, rel=1e-4)
            assert history["loss"][epoch] == pytest.approx(share * by_hand, rel=1e-4)


# -- Keras' own --


def test_soft_targets_have_the_value_of_keras_distillation(digits):
    images, _ = digits
    teacher, student = _model(1, 8), _model(0)
    logits, answers = (model.predict(images, verbose=0) for model in (student, teacher))
    # With an instance of the loss: its default string skips the softmax.
    theirs = keras.distillation.LogitsDistillation(
        temperature=3.0, loss=keras.losses.KLDivergence()
    ).compute_loss(answers, logits)
    ours = np.mean(td.losses.soft_target_loss(logits, answers, 3.0))
    assert ours == pytest.approx(float(theirs), rel=1e-4)
