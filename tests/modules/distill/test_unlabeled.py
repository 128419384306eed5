"""Learning from examples without label: what they add to the objective, and what they must not."""

import math

import keras
import losses_numpy as plain
import numpy as np
import pytest
import small_models
import tensorflow as tf
from example_files import write_examples
from image_data import image_spec
from keras import layers
from scipy.special import log_softmax

from modules.data.augmentation import AugmentSettings
from modules.data.examples import ExampleData, View
from modules.distill import training
from modules.distill.checkpoint import TrainingState
from modules.distill.distiller import Distiller
from modules.errors import DataError
from modules.settings import DataSettings, MethodSettings, TrainSettings
from modules.teachers.cache import SoftTargetCache
from modules.teachers.soft_targets import Request, compute

CLASSES, BATCH = 4, 12
MARKS = np.arange(BATCH) % 3 == 0


def _student(outputs=CLASSES, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5,), name="x")
    x = layers.Dense(6, activation="relu", name="body")(inputs)
    return keras.Model(inputs, layers.Dense(outputs, kernel_initializer="he_normal")(x))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, 5)).astype(np.float32)
    logits = rng.normal(scale=3, size=(2, BATCH, CLASSES)).astype(np.float32)
    return x, rng.integers(0, CLASSES, BATCH), logits[0], logits[1]


def _loss(distiller, x, y, logits, weights=None):
    return float(distiller.compute_loss(x, y, tf.constant(logits), weights))


# -- The objective --


def test_two_examples_by_hand():
    # Two classes, alpha 1/4, T = 1. The student answers (0, 0) twice: a hard loss of ln 2. The
    # teacher's probabilities are (3/4, 1/4): KL = 3/4 ln(3/2) + 1/4 ln(1/2). Labeled is the first.
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    distiller = Distiller(None, _student(2), alpha=0.25, temperature=1)
    y = {
        "label": np.array([1, -1]),
        "labeled": np.array([True, False]),
        "teacher_logits": np.array([[math.log(3), 0.0]] * 2, np.float32),
    }
    loss = _loss(distiller, np.zeros((2, 5)), y, np.zeros((2, 2), np.float32))
    labeled, unlabeled = 0.25 * math.log(2) + 0.75 * divergence, 0.75 * divergence
    assert loss == pytest.approx((labeled + unlabeled) / 2, rel=1e-6)
    # The logs have the mean of the labeled alone, which compares with the validation's.
    logs = {metric.name: float(metric.result()) for metric in distiller.metrics}
    assert logs["hard_loss"] == pytest.approx(math.log(2), rel=1e-6)
    assert logs["soft_target_loss"] == pytest.approx(divergence, rel=1e-6)


@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 3, BATCH)], ids=["plain", "weighted"])
@pytest.mark.parametrize(("alpha", "temperature"), [(0.1, 4.0), (0.7, 1.5), (1, 2), (0, 2)])
def test_every_example_has_its_own_objective(batch, alpha, temperature, weights):
    """Second formulation: NumPy in float64, example by example."""
    x, labels, logits, taught = batch
    distiller = Distiller(None, _student(), alpha=alpha, temperature=temperature)
    y = {"label": labels, "labeled": MARKS, "teacher_logits": taught}
    terms = []
    for at in range(BATCH):
        hard = -log_softmax(logits[at].astype(np.float64))[labels[at]]
        soft = plain.soft_target_loss(logits[at : at + 1], taught[at : at + 1], temperature)
        terms.append((alpha * hard if MARKS[at] else 0) + (1 - alpha) * float(soft[0]))
    expected = np.average(terms, weights=weights)
    assert _loss(distiller, x, y, logits, weights) == pytest.approx(expected, rel=1e-5)


TASKS = {
    "classification": (np.array([0, 3, 1] * 4), -1),
    "one-hot": (np.eye(CLASSES, dtype=np.float32)[[0, 3, 1] * 4], 0),
    "multilabel": (np.eye(CLASSES, dtype=np.float32)[[0, 3, 1] * 4], 0),
    "regression": (np.linspace(-2, 2, BATCH, dtype=np.float32), np.nan),
}


@pytest.mark.parametrize("case", TASKS)
def test_what_stands_in_place_of_a_label_means_nothing(batch, case):
    task = "classification" if case == "one-hot" else case
    x, _, logits, taught = batch
    if task == "regression":
        logits, taught = logits[:, :1], taught[:, :1]
    labels, missing = TASKS[case]
    hidden = labels.copy()
    hidden[~MARKS] = missing
    student = _student(logits.shape[1])
    found = []
    for given in (labels, hidden):
        distiller = Distiller(None, student, alpha=0.3, task=task)
        y = {"label": given, "labeled": MARKS, "teacher_logits": taught}
        with tf.GradientTape() as tape:
            loss = distiller.compute_loss(x, y, student(x))
        gradients = tape.gradient(loss, [each.value for each in student.trainable_variables])
        found.append([loss, *gradients])
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    # And all marked as labeled are as without marks.
    distiller = Distiller(None, student, alpha=0.3, task=task)
    y = {"label": labels, "teacher_logits": taught}
    marked = _loss(distiller, x, y | {"labeled": np.ones(BATCH, bool)}, logits)
    assert marked == pytest.approx(_loss(distiller, x, y, logits), rel=1e-6)


def test_a_missing_class_is_the_teachers_first_choice(batch):
    """Decoupled distillation asks which class is the target one."""
    x, labels, logits, taught = batch
    distiller = Distiller(None, _student(), methods="decoupled", alpha=0, temperature=2)
    hidden = np.where(MARKS, labels, -1)
    y = {"label": hidden, "labeled": MARKS, "teacher_logits": taught}
    known = np.where(MARKS, labels, taught.argmax(axis=1))
    expected = _loss(distiller, x, {"label": known, "teacher_logits": taught}, logits)
    assert _loss(distiller, x, y, logits) == pytest.approx(expected, rel=1e-6)
    assert (known != np.where(MARKS, labels, 0)).any()


# -- As a Keras user has it --


def _fit_data(count=60):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 5)).astype(np.float32)
    labels = rng.integers(0, CLASSES, count)
    marks = np.arange(count) % 4 == 1
    return x, np.where(marks, labels, -1), marks


def test_fit_takes_examples_without_label():
    x, labels, marks = _fit_data()
    y = {"label": labels, "labeled": marks}
    student = _student()
    distiller = Distiller(_student(seed=1), student)
    crossentropy = keras.metrics.SparseCategoricalCrossentropy("crossentropy", from_logits=True)
    distiller.compile("adam", metrics=["accuracy"], weighted_metrics=[crossentropy])
    history = distiller.fit(
        x, y, 16, 3, validation_data=(x[marks], labels[marks]), verbose=0
    ).history
    assert np.isfinite(list(history.values())).all()
    found = distiller.evaluate(x, y, 16, verbose=0, return_dict=True)
    known = distiller.evaluate(x[marks], labels[marks], 16, verbose=0, return_dict=True)
    # Scores and the metrics that were asked for count the labeled alone, as if there were no other.
    for name in ("accuracy", "hard_loss", "crossentropy"):
        assert found[name] == pytest.approx(known[name], rel=1e-5), name
    right = student.predict(x, verbose=0).argmax(axis=1) == labels
    assert found["accuracy"] == pytest.approx(right[marks].mean())


def test_unlabeled_examples_teach():
    """Without weight on the labels, the student comes nearer to its teacher where none is."""
    x, labels, marks = _fit_data()
    teacher, student = _student(seed=1), _student()
    distiller = Distiller(teacher, student)
    distiller.compile(keras.optimizers.Adam(0.01))

    def distance():
        there = x[~marks]
        return np.abs(teacher.predict(there, verbose=0) - student.predict(there, verbose=0)).mean()

    before = distance()
    distiller.fit(x[~marks], {"label": labels[~marks], "labeled": marks[~marks]}, 16, 30, verbose=0)
    assert distance() < 0.7 * before


@pytest.mark.parametrize(
    ("marks", "told"),
    [
        (np.ones(59, bool), "bool of the shape [59]"),
        (np.ones((60, 1), bool), "bool of the shape [60, 1]"),
        (np.ones(60, np.int64), "int64 of the shape [60]"),
    ],
)
def test_marks_that_are_none(marks, told):
    x, labels, _ = _fit_data()
    distiller = Distiller(_student(seed=1), _student())
    distiller.compile("adam")
    with pytest.raises(DataError) as caught:
        distiller.fit(x, {"label": labels, "labeled": marks}, verbose=0)
    message = str(caught.value)
    assert "\n" not in message and "y['labeled'] must be a boolean for each of the 60" in message
    assert told in message


def test_a_label_that_is_missing_without_a_mark_is_still_refused():
    x, labels, marks = _fit_data()
    distiller = Distiller(_student(seed=1), _student())
    distiller.compile("adam")
    with pytest.raises(DataError, match="class ids from 0 to 3"):
        distiller.fit(x, labels, verbose=0)
    wrong = np.where(marks, 7, -1)
    with pytest.raises(DataError, match=r"class ids from 0 to 3, .* got 7"):
        distiller.fit(x, {"label": wrong, "labeled": marks}, verbose=0)


# -- A whole training on files --

COUNT, LABELED = 200, 60
SPEC = image_spec()
DATA = DataSettings(validation_fraction=0.25)
VIEW = View(AugmentSettings(pad_crop=1), 3, 5)
SETTINGS = TrainSettings(epochs=4, batch_size=32, learning_rate=0.01)
HINT = MethodSettings(name="hint", weight=1, student_layer="block1", teacher_layer="stage1_block1")
OBJECTIVES = {
    "online, features": (MethodSettings(name="soft_target", warmup_epochs=4), HINT),
    "cached, two teachers, top_k": (
        MethodSettings(name="soft_target"),
        MethodSettings(name="decoupled", weight=0.1),
        MethodSettings(name="dist", weight=0.1),
    ),
}


class Killed(BaseException):
    """Stands for SIGKILL within this process."""


@pytest.fixture(scope="module")
def patterns(digit_pixels, digit_labels, tmp_path_factory):
    """Labeled and unlabeled digits; their files are called alike, as Transform calls them."""
    root = tmp_path_factory.mktemp("digits")
    labels = np.where(np.arange(COUNT) < LABELED, digit_labels[:COUNT], -1)
    return [
        write_examples(
            root / f"Split-{split}", digit_pixels[part], labels[part], np.arange(COUNT)[part]
        )
        for split, part in (
            ("train", slice(0, LABELED)),
            ("unlabeled", slice(LABELED, COUNT)),
        )
    ]


@pytest.fixture(scope="module")
def teachers():
    keras.utils.set_random_seed(100)
    return [small_models.build("resnet_small", widths=[6], blocks=1) for _ in range(2)]


@pytest.fixture(scope="module")
def soft_targets(patterns, teachers, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("soft_targets"))
    data = ExampleData([patterns[0]], SPEC, DATA, unlabeled_patterns=[patterns[1]])
    compute(teachers, data, Request(3, VIEW.settings, VIEW.seed, top_k=4), directory)
    return SoftTargetCache(directory)


def _trained(case, patterns, taught, state_dir=None, seed=0, settings=SETTINGS):
    """The student's and the projector's last weights."""
    teachers, cached = taught
    online = case.startswith("online")
    keras.utils.set_random_seed(seed)
    student = small_models.build("separable_cnn", filters=[4, 8], dropout=0.3)
    distiller = Distiller(
        teachers[0] if online else None,
        student,
        OBJECTIVES[case],
        teacher_weights=None if online else [1, 3],
    )
    data = ExampleData([patterns[0]], SPEC, DATA, None if online else cached, [patterns[1]])
    plan = training.Plan(settings, 7, None, state_dir, VIEW, seconds_between_saves=0)
    training.fit(distiller, data, plan)
    return distiller.get_weights()


@pytest.mark.parametrize("case", OBJECTIVES)
@pytest.mark.thorough
def test_a_killed_training_ends_as_an_unbroken_one(
    case, patterns, teachers, soft_targets, tmp_path, monkeypatch, caplog
):
    taught = teachers, soft_targets
    unbroken = _trained(case, patterns, taught)
    save = TrainingState.save

    def save_and_die(self):
        save(self)
        if self.epoch == 2:
            raise Killed

    monkeypatch.setattr(TrainingState, "save", save_and_die)
    with pytest.raises(Killed):
        _trained(case, patterns, taught, str(tmp_path / "state"))
    monkeypatch.undo()
    with caplog.at_level("INFO", "tfx_distill.training"):
        again = _trained(case, patterns, taught, str(tmp_path / "state"), seed=1)
    assert "taken up again behind epoch 2" in caplog.text
    for one, other in zip(again, unbroken, strict=True):
        np.testing.assert_array_equal(one, other)


def test_soft_targets_answer_both_splits(patterns, teachers, soft_targets):
    """Files of the same name in two splits do not overwrite one another."""
    data = ExampleData([patterns[0]], SPEC, DATA, unlabeled_patterns=[patterns[1]])
    records = list(soft_targets.records().as_numpy_iterator())
    assert len(records) == COUNT
    for files, count in ((data.files, LABELED), (data.unlabeled_files, COUNT - LABELED)):
        ((inputs, _, ids),) = data.of_files(files, COUNT)
        answers = tf.constant(list(soft_targets.records(files).as_numpy_iterator()))
        assert len(answers) == len(ids) == count
        cached = soft_targets.logits(answers, ids, tf.fill([count], tf.constant(-1, tf.int64)))
        for index, teacher in enumerate(teachers):
            expected = teacher(inputs["image"], training=False).numpy()
            np.testing.assert_array_equal(cached[:, index].numpy().argmax(1), expected.argmax(1))
            largest = np.sort(expected, axis=1)[:, -4:]
            found = np.sort(cached[:, index].numpy(), axis=1)[:, -4:]
            np.testing.assert_allclose(found, largest, rtol=2e-3, atol=2e-3)


def test_soft_targets_of_the_labeled_alone_are_refused(patterns, teachers, tmp_path):
    alone = ExampleData([patterns[0]], SPEC, DATA)
    compute(teachers, alone, Request(0, AugmentSettings(), 0), str(tmp_path))
    with pytest.raises(DataError, match="other file"):
        ExampleData([patterns[0]], SPEC, DATA, SoftTargetCache(str(tmp_path)), [patterns[1]])


def test_the_counts_are_written_beside_the_logs(patterns, teachers, tmp_path):
    from modules.judge.run_history import learned_from

    counts = {}
    for name, labels_only in (("student", False), ("control", True)):
        data = ExampleData([patterns[0]], SPEC, DATA, None, [patterns[1]], labels_only)
        keras.utils.set_random_seed(0)
        student = small_models.build("separable_cnn", filters=[4])
        distiller = Distiller(
            None if labels_only else teachers[0], student, () if labels_only else "dist"
        )
        settings = SETTINGS.model_copy(update={"epochs": 2})
        log_dir = str(tmp_path / name / "generation_1")
        training.fit(distiller, data, training.Plan(settings, 0, log_dir))
        counts[name] = learned_from(str(tmp_path / name))
        # Every step of the optimizer was counted.
        assert int(distiller.optimizer.iterations) == 2 * counts[name].steps_per_epoch
    held_out = sum(len(y["label"]) for _, y in data.validation(50))
    assert counts["student"].labeled == counts["control"].labeled == LABELED - held_out
    assert (counts["student"].unlabeled, counts["control"].unlabeled) == (COUNT - LABELED, 0)
    assert counts["student"].steps_per_epoch == counts["control"].steps_per_epoch
