"""Tests of modules.distill.distiller: the objective against NumPy, and what training may touch."""

import keras
import losses_numpy as plain
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy.special import log_softmax, softmax
from small_models import class_output, image_input

from modules.distill.distiller import Distiller
from modules.distill.ensemble import Ensemble
from modules.distill.targets import LABEL, TEACHER_LOGITS
from modules.errors import ModelError
from modules.models.zoo import build_model
from modules.settings import ModelSettings
from modules.tasks.registry import make_task

CLASSES, BATCH = 4, 12


def _model(seed, regularizer=None, activity=None, teacher=False):
    """Pixels 3x3x1 in, logits out; the teacher has state and noise that training would touch."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3, 3, 1), dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    x = layers.Dense(8, kernel_regularizer=regularizer, activity_regularizer=activity)(x)
    if teacher:
        x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, kernel_initializer="he_normal")(x))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BATCH, 3, 3, 1), dtype=np.uint8)
    return pixels, rng.integers(0, CLASSES, BATCH)


def _distiller(student, teacher):
    """With a teacher by the default objective, without one by the labels alone."""
    return Distiller(teacher, student) if teacher else Distiller(None, student, methods=())


def _objective(student, teacher, labels, alpha, temperature, weights=None):
    """Second formulation: NumPy in float64; KL as cross-entropy minus entropy."""
    student, teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    hard = -log_softmax(student, axis=1)[np.arange(len(labels)), labels]
    log_taught = log_softmax(teacher / temperature, axis=1)
    log_learned = log_softmax(student / temperature, axis=1)
    taught = np.exp(log_taught)
    soft = temperature**2 * (
        -(taught * log_learned).sum(axis=1) + (taught * log_taught).sum(axis=1)
    )
    terms = alpha * hard + (1 - alpha) * soft
    return np.average(terms, weights=weights)


@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 3, BATCH)], ids=["plain", "weighted"])
@pytest.mark.parametrize(("alpha", "temperature"), [(0.1, 4.0), (0.5, 1.0), (0.9, 7.5), (0, 2)])
def test_objective_agrees_with_numpy(batch, alpha, temperature, weights):
    pixels, labels = batch
    teacher = _model(1, teacher=True)
    distiller = Distiller(teacher, _model(0), alpha=alpha, temperature=temperature)
    logits = np.random.default_rng(1).normal(scale=3, size=(BATCH, CLASSES)).astype(np.float32)
    loss = distiller.compute_loss(pixels, {LABEL: labels}, tf.constant(logits), weights)
    taught = teacher(pixels, training=False)
    expected = _objective(logits, taught, labels, alpha, temperature, weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_objective_by_hand():
    # One example, two classes, T = 2, alpha = 1/4. Logits (2 ln 3, 0) softened: (3/4, 1/4);
    # the teacher's are equal: (1/2, 1/2). KL = 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3).
    # The hard loss of label 1: the student's probability is 1 / (9 + 1).
    keras.utils.set_random_seed(0)
    student = keras.Sequential([keras.Input((1,)), layers.Dense(2)])
    teacher = keras.Sequential([keras.Input((1,)), layers.Dense(2, kernel_initializer="zeros")])
    distiller = Distiller(teacher, student, alpha=0.25, temperature=2)
    logits = tf.constant([[2 * np.log(3), 0.0]], tf.float32)
    loss = distiller.compute_loss(np.ones((1, 1)), {LABEL: np.array([1])}, logits)
    assert float(loss) == pytest.approx(0.25 * np.log(10) + 0.75 * 4 * 0.5 * np.log(4 / 3))


def _loss_and_gradients(distiller, pixels, labels, weights=None):
    with tf.GradientTape() as tape:
        logits = distiller(pixels, training=True)
        loss = distiller.compute_loss(pixels, {LABEL: labels}, logits, weights)
    return [loss, *tape.gradient(loss, distiller.trainable_variables)]


def _assert_all_close(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_alpha_one_is_plain_training(batch):
    student = _model(0)
    taught = Distiller(_model(1, teacher=True), student, alpha=1)
    _assert_all_close(
        _loss_and_gradients(taught, *batch), _loss_and_gradients(_distiller(student, None), *batch)
    )


@pytest.mark.parametrize("taught", [True, False])
def test_an_example_of_weight_zero_has_no_influence(batch, taught):
    pixels, labels = batch
    distiller = _distiller(_model(0), _model(1, teacher=True) if taught else None)
    weights = np.ones(BATCH, np.float32)
    weights[3] = 0
    result = _loss_and_gradients(distiller, pixels, labels, weights)
    _assert_all_close(
        result,
        _loss_and_gradients(distiller, np.delete(pixels, 3, axis=0), np.delete(labels, 3)),
    )
    changed, relabeled = pixels.copy(), labels.copy()
    changed[3], relabeled[3] = 255 - changed[3], (labels[3] + 1) % CLASSES
    _assert_all_close(result, _loss_and_gradients(distiller, changed, relabeled, weights))
    # And a weight of two counts twice.
    weights[3] = 2
    twice = np.append(np.arange(BATCH), 3)
    _assert_all_close(
        _loss_and_gradients(distiller, pixels, labels, weights),
        _loss_and_gradients(distiller, pixels[twice], labels[twice]),
    )


@pytest.mark.parametrize("taught", [True, False])
def test_regularisation_of_the_student_is_added_once(batch, taught):
    pixels, labels = batch
    # The teacher's own regularisation is nobody's business here.
    teacher = _model(1, regularizer=keras.regularizers.L2(9.0), teacher=True) if taught else None
    plain = _distiller(_model(0), teacher)
    student = _model(
        0, regularizer=keras.regularizers.L2(0.3), activity=keras.regularizers.L1(0.01)
    )
    distiller = _distiller(student, teacher)
    hidden = keras.Model(student.inputs, student.layers[3].output)(pixels)
    penalty = 0.3 * np.sum(np.square(student.layers[3].kernel))
    penalty += 0.01 * np.abs(hidden).sum() / BATCH  # Keras divides activities by the batch
    difference = (
        _loss_and_gradients(distiller, pixels, labels)[0]
        - (_loss_and_gradients(plain, pixels, labels)[0])
    )
    np.testing.assert_allclose(difference, penalty, rtol=1e-4)


# -- training --


def _fit(distiller, batch, **arguments):
    distiller.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    data = _dataset(batch, BATCH // 2)
    return distiller.fit(data, verbose=0, **arguments)


def _dataset(batch, size):
    pixels, labels = batch
    return tf.data.Dataset.from_tensor_slices((pixels, {LABEL: labels})).batch(size)


def _copy(model):
    return [weight.copy() for weight in model.get_weights()]


def _equal(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_training_moves_the_student_and_leaves_the_teacher(batch):
    student, teacher = _model(0), _model(1, teacher=True)
    assert teacher.trainable  # nobody froze it; the Distiller must not train it all the same
    before = _copy(student), _copy(teacher)
    _fit(_distiller(student, teacher), batch, epochs=3)
    assert _equal(before[1], _copy(teacher))  # moving averages included
    assert not any(
        np.array_equal(old, new) for old, new in zip(before[0], _copy(student), strict=True)
    )


def test_the_teacher_is_not_part_of_the_model(batch):
    student, teacher = _model(0), _model(1, teacher=True)
    distiller = _distiller(student, teacher)
    _fit(distiller, batch)
    teachers = {id(variable) for variable in teacher.variables}
    assert not teachers & {id(variable) for variable in distiller.variables}
    assert [id(variable) for variable in distiller.trainable_variables] == [
        id(variable) for variable in student.trainable_variables
    ]
    assert distiller.count_params() == student.count_params() + 1
    # Of its own it has the number of the epoch alone, which the schedules read.
    others = {id(variable) for variable in distiller.variables} - {
        id(variable) for variable in student.variables
    }
    assert [v.name for v in distiller.variables if id(v) in others] == ["epoch"]


def test_the_student_is_what_the_distiller_answers(batch):
    student = _model(0)
    distiller = _distiller(student, _model(1, teacher=True))
    np.testing.assert_array_equal(distiller(batch[0]), student(batch[0]))


def test_logs_name_the_terms_of_the_loss(batch):
    student, teacher = _model(0), _model(1, teacher=True)
    distiller = Distiller(teacher, student, alpha=0.3, temperature=3)
    assert len({metric.name for metric in distiller.metrics}) == len(distiller.metrics)
    validation = _dataset(batch, BATCH)
    history = _fit(distiller, batch, epochs=2, validation_data=validation).history
    terms = {"loss", "hard_loss", "soft_target_loss", "accuracy"}
    assert set(history) == terms | {f"val_{name}" for name in terms}
    for prefix in ("", "val_"):
        np.testing.assert_allclose(
            history[prefix + "loss"],
            0.3 * np.array(history[prefix + "hard_loss"])
            + 0.7 * np.array(history[prefix + "soft_target_loss"]),
            rtol=1e-5,
        )
    pixels, labels = batch
    logits = student(pixels).numpy()
    expected = _objective(logits, teacher(pixels, training=False), labels, 0.3, 3)
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert history["val_accuracy"][-1] == pytest.approx(np.mean(logits.argmax(1) == labels))


def test_control_without_a_teacher(batch):
    student = _model(0)
    distiller = _distiller(student, None)
    validation = _dataset(batch, BATCH)
    history = _fit(distiller, batch, epochs=1, validation_data=validation).history
    terms = {"loss", "hard_loss", "accuracy"}
    assert set(history) == terms | {f"val_{name}" for name in terms}
    pixels, labels = batch
    expected = -log_softmax(student(pixels).numpy(), axis=1)[np.arange(BATCH), labels].mean()
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


def test_sample_weights_reach_the_objective_through_fit(batch):
    pixels, labels = batch
    weights = np.linspace(0, 2, BATCH).astype(np.float32)
    student, teacher = _model(0), _model(1, teacher=True)
    distiller = Distiller(teacher, student, alpha=0.4)
    distiller.compile(keras.optimizers.Adam(), jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((pixels, {LABEL: labels}, weights)).batch(BATCH)
    logs = distiller.evaluate(data, verbose=0, return_dict=True)
    expected = _objective(student(pixels), teacher(pixels), labels, 0.4, 4, weights)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


# -- several teachers --


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shares", [(1, 1), (3, 1), (0.2, 0.5, 0.1)], ids=str)
def test_teachers_are_combined_by_their_softened_probabilities(shares, temperature):
    logits = np.random.default_rng(0).normal(scale=4, size=(BATCH, len(shares), CLASSES))
    combined = Ensemble([], shares, make_task("classification")).combine(
        tf.constant(logits, tf.float32), temperature
    )
    weights = np.array(shares) / sum(shares)
    expected = np.einsum("t,btc->bc", weights, softmax(logits / temperature, axis=2))
    actual = softmax(np.asarray(combined, np.float64) / temperature, axis=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    # The mean of the logits would be something else.
    mean = softmax(np.einsum("t,btc->bc", weights, logits) / temperature, axis=1)
    assert np.abs(mean - expected).max() > 0.01


def test_one_teacher_is_taken_as_it_is():
    logits = np.random.default_rng(0).normal(size=(BATCH, 1, CLASSES)).astype(np.float32)
    combined = Ensemble([], None, make_task("classification")).combine(tf.constant(logits), 3.0)
    np.testing.assert_array_equal(combined, logits[:, 0])


def test_objective_with_two_teachers_agrees_with_numpy(batch):
    pixels, labels = batch
    teachers = [_model(1, teacher=True), _model(2, teacher=True)]
    distiller = Distiller(teachers, _model(0), alpha=0.2, temperature=3, teacher_weights=[1, 3])
    logits = np.random.default_rng(1).normal(scale=3, size=(BATCH, CLASSES)).astype(np.float32)
    loss = distiller.compute_loss(pixels, {LABEL: labels}, tf.constant(logits))
    first, second = (
        softmax(np.asarray(teacher(pixels), np.float64) / 3, axis=1) for teacher in teachers
    )
    combined = 3 * np.log(0.25 * first + 0.75 * second)
    np.testing.assert_allclose(loss, _objective(logits, combined, labels, 0.2, 3), rtol=1e-5)


# -- logits that were computed before --


@pytest.mark.parametrize(
    "method",
    ["soft_target", "standardized", "logit_mse", "decoupled", "dist"],
)
def test_cached_logits_give_the_loss_of_online(batch, method):
    pixels, labels = batch
    teachers = [_model(1, teacher=True), _model(2, teacher=True)]
    student, weights = _model(0), [1, 2]
    objective = {"methods": method, "alpha": 0.2, "teacher_weights": weights}
    online = Distiller(teachers, student, **objective)
    cached = Distiller(None, student, **objective)
    answers = np.stack([teacher(pixels) for teacher in teachers], axis=1)
    y = {LABEL: labels, TEACHER_LOGITS: answers.astype(np.float16)}
    logits = student(pixels)
    expected = online.compute_loss(pixels, {LABEL: labels}, logits)
    loss = cached.compute_loss(pixels, y, logits)
    assert float(loss) == pytest.approx(float(expected), rel=5e-3)
    exact = cached.compute_loss(pixels, {**y, TEACHER_LOGITS: answers}, logits)
    assert float(exact) == pytest.approx(float(expected), rel=1e-6)
    # What is cached is preferred: the teachers are not asked again.
    other = online.compute_loss(pixels, {**y, TEACHER_LOGITS: -answers}, logits)
    assert float(other) != pytest.approx(float(expected), rel=1e-2)


def test_without_any_teacher_it_says_so(batch):
    with pytest.raises(ModelError, match="give teachers, or teacher_logits"):
        Distiller(None, _model(0)).compute_loss(batch[0], {LABEL: batch[1]}, _model(0)(batch[0]))


def test_teacher_of_other_classes():
    inputs = keras.Input((3, 3, 1), dtype="uint8")
    teacher = keras.Model(inputs, layers.Dense(7)(layers.Flatten()(inputs)), name="wide")
    with pytest.raises(ModelError, match=r"wide has 7 outputs.* student 4") as caught:
        Distiller(teacher, _model(0))
    assert "\n" not in str(caught.value)


# -- labels --


def test_decoupled_learns_from_the_labels(batch):
    # The same logits with another label are another loss, by the labels alone.
    pixels, labels = batch
    distiller = Distiller(None, _model(0), methods="decoupled", alpha=0)
    rng = np.random.default_rng(3)
    student, teacher = rng.normal(size=(2, BATCH, CLASSES)).astype(np.float32)
    y = {TEACHER_LOGITS: teacher[:, None]}
    losses = []
    for truth in (labels, (labels + 1) % CLASSES):
        loss = distiller.compute_loss(pixels, {LABEL: truth, **y}, tf.constant(student))
        expected = plain.decoupled_loss(
            student.astype(float), teacher.astype(float), truth, 4, 1, 8
        ).mean()
        assert float(loss) == pytest.approx(expected, rel=1e-4)
        losses.append(float(loss))
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)


def test_soft_labels_agree_with_numpy(batch):
    pixels, labels = batch
    truth = np.random.default_rng(4).dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    distiller = _distiller(_model(0), None)
    logits = np.random.default_rng(1).normal(scale=3, size=(BATCH, CLASSES)).astype(np.float32)
    loss = distiller.compute_loss(pixels, {LABEL: truth}, tf.constant(logits))
    expected = -(truth * log_softmax(logits.astype(float), axis=1)).sum(axis=1).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    # And a certain label is the class itself.
    certain = distiller.compute_loss(
        pixels, {LABEL: np.eye(CLASSES, dtype=np.float32)[labels]}, tf.constant(logits)
    )
    by_class = distiller.compute_loss(pixels, {LABEL: labels}, tf.constant(logits))
    assert float(certain) == pytest.approx(float(by_class), rel=1e-6)
    distiller.reset_metrics()
    distiller.compute_metrics(pixels, {LABEL: truth}, tf.constant(logits))
    hits = np.mean(truth.argmax(1) == logits.argmax(1))
    assert float(distiller.get_metrics_result()["accuracy"]) == pytest.approx(hits)


# -- mixed precision --


@pytest.fixture
def _mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("_mixed_precision")
def test_mixed_precision_trains_with_logits_in_float32(digit_pixels, digit_labels):
    settings = ModelSettings(model="separable_cnn", parameters={"filters": [8, 16]})
    student, teacher = (
        build_model(settings, image_input((8, 8, 1)), class_output(10)) for _ in range(2)
    )
    assert student.get_layer("block1").compute_dtype == "float16"
    names = {"student_layer": "block1", "teacher_layer": "block1"}
    distiller = Distiller(teacher, student, ["soft_target", {"name": "hint", **names}])
    before = _copy(student)
    distiller.compile(keras.optimizers.AdamW(0.01), jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((digit_pixels[:200], {LABEL: digit_labels[:200]}))
    history = distiller.fit(data.batch(50), epochs=3, verbose=0).history
    assert student(digit_pixels[:2]).dtype == tf.float32
    assert all(np.isfinite(value) for values in history.values() for value in values)
    assert history["hard_loss"][-1] < history["hard_loss"][0]
    assert not any(
        np.array_equal(old, new) for old, new in zip(before, _copy(student), strict=True)
    )
    assert all(weight.dtype == np.float32 for weight in student.get_weights())
