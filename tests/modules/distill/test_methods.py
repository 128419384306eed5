"""modules.distill.methods: what is refused, the schedules, and the objective against NumPy."""

import subprocess
import sys

import keras
import losses_numpy as plain
import numpy as np
import pytest
import tensorflow as tf
from checkout import ROOT
from keras import layers
from scipy.special import log_softmax

from modules.distill import losses
from modules.distill.distiller import Distiller
from modules.distill.methods import METHODS, Inputs, Term, check_methods, objective, parse_methods
from modules.distill.targets import LABEL, TEACHER_LOGITS
from modules.errors import ConfigError
from modules.settings import DistillSettings, MethodSettings

# -- What is refused --

LAYERS = {"student_layer": "a", "teacher_layer": "b"}


def _settings(*methods, **changes):
    return DistillSettings(methods=tuple(MethodSettings(**method) for method in methods), **changes)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"name": "soft_targte"}, ["distill.methods.1.name", "'soft_targte'", "'soft_target'?"]),
        ({"name": "zzz"}, ["distill.methods.1.name", "'zzz'", ", ".join(METHODS)]),
        (
            {"name": "decoupled", "target_wieght": 1},
            ["distill.methods.1.target_wieght", "decoupled", "'target_weight'?"],
        ),
        ({"name": "soft_target", "target_weight": 1}, ["methods.1.target_weight", "no such"]),
        (
            {"name": "decoupled", "target_weight": -0.5},
            ["distill.methods.1.target_weight", "from 0 to 1,000,000", "-0.5"],
        ),
        ({"name": "dist", "inter_weight": True}, ["methods.1.inter_weight", "number", "True"]),
        ({"name": "dist", "inter_weight": "2"}, ["methods.1.inter_weight", "number", "'2'"]),
        ({"name": "hint"}, ["distill.methods.1", "hint", "student_layer", "teacher_layer"]),
        ({"name": "hint", "student_layer": "a"}, ["hint", "needs student_layer and"]),
        ({"name": "dist", "teacher_layer": "a"}, ["dist compares logits", "hint, attention"]),
        ({"name": "logit_mse", **LAYERS}, ["logit_mse compares logits"]),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_a_method_is_one_line(method, words):
    settings = _settings({"name": "soft_target"}, method, soft_targets="online")
    with pytest.raises(ConfigError) as caught:
        check_methods(settings)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_the_argument_is_named_as_asked():
    with pytest.raises(ConfigError, match=r"^tune\.distill\.methods\.0\.name must"):
        check_methods(_settings({"name": "?"}), "tune.distill")


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.features])
def test_feature_methods_need_the_teacher_itself(name):
    method = {"name": name, **LAYERS}
    with pytest.raises(ConfigError, match=f"soft_targets must be online for {name}.*: online"):
        check_methods(_settings(method, soft_targets="cached"))
    check_methods(_settings(method, soft_targets="online"))


@pytest.mark.parametrize(
    ("task", "refused"),
    [
        ("classification", []),
        ("binary", ["standardized"]),
        ("multilabel", ["standardized", "decoupled", "dist"]),
        ("regression", ["standardized", "decoupled", "dist"]),
    ],
)
def test_methods_that_mean_nothing_for_a_task_are_refused(task, refused):
    line = f"for the task {task}, got {{}}, which is for .*; use one of soft_target, "
    for name, entry in METHODS.items():
        given = {"name": name, **(LAYERS if entry.features else {})}
        if name not in refused:
            check_methods(_settings(given, soft_targets="online"), task=task)
            continue
        with pytest.raises(ConfigError, match=line.format(name)):
            check_methods(_settings(given), task=task)
        with pytest.raises(ConfigError, match=line.format(name)):
            parse_methods(given, task)


@pytest.mark.parametrize("soft_targets", ["cached", "online"])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.features])
def test_logit_methods_work_cached_and_online(name, soft_targets):
    own = dict.fromkeys(METHODS[name].settings, 0)
    check_methods(_settings({"name": name, "weight": 0.5, **own}, soft_targets=soft_targets))


def test_a_configuration_is_checked_without_keras():
    code = (
        "import sys\n"
        "from modules.errors import ConfigError\n"
        "from modules.distill.methods import check_methods\n"
        "from modules.settings import DistillSettings\n"
        "check_methods(DistillSettings())\n"
        "try:\n"
        "    check_methods(DistillSettings(methods=({'name': 'hind'},)))\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules), 'heavy'\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, "did you mean 'hint'" in result.stdout) == (0, True), result.stderr


# -- The registry --


class Recorder:
    """Stands for the module of losses, and notes what is called with which arguments."""

    def __init__(self):
        self.called = {}

    def __getattr__(self, name):
        def note(*values, **settings):
            self.called[name] = (values, settings)
            return getattr(losses, name)(*values, **settings)

        return note


def _inputs(features):
    shape = (6, 4, 4, 3) if features else (6, 5)
    student, teacher = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    return Inputs(student, teacher, np.arange(6) % 5, 2.0)


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_is_given_the_settings_of_its_method(name):
    method, recorder = METHODS[name], Recorder()
    own = {key: value + 1 for key, value in method.settings.items()}
    value = method.loss(recorder, _inputs(method.features), **own)
    assert np.isfinite(value).all() and len(np.shape(value)) <= 1
    (settings,) = (s for called, (_, s) in recorder.called.items() if called.endswith("_loss"))
    assert settings == own
    # The keys of every method come first: a setting of the same name could never be reached.
    assert not set(method.settings) & set(MethodSettings.model_fields)
    # The term brings the customary values, and what is configured goes before them.
    term = Term(name, MethodSettings(name=name, **own), method)
    np.testing.assert_array_equal(term.loss(_inputs(method.features)), value)


def test_every_loss_can_be_chosen():
    recorder = Recorder()
    for method in METHODS.values():
        for task in method.tasks:
            method.loss_of(task)(recorder, _inputs(method.features), **method.settings)
    public = {name for name in vars(losses) if name.endswith("_loss") and name[0] != "_"}
    assert public == {name for name in recorder.called if name.endswith("_loss")}


@pytest.mark.parametrize(
    "given",
    [
        "dist",
        ["dist"],
        {"name": "dist"},
        [{"name": "dist"}],
        MethodSettings(name="dist"),
        (MethodSettings(name="dist"),),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_method_is_named_in_any_way(given):
    assert parse_methods(given) == (MethodSettings(name="dist"),)


def test_several_methods_keep_their_order_and_settings():
    hint = {"name": "hint", "weight": 3, **LAYERS}
    assert parse_methods(["soft_target", hint]) == _settings({"name": "soft_target"}, hint).methods
    assert parse_methods(()) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hind", r"^methods\.0\.name must be one of .* 'hind'; did you mean 'hint'\?"),
        (["dist", {"name": "dist", "weight": -1}], r"^methods\.1\.weight: .*or equal to 0, got -1"),
        ([{"weight": 1}], r"^methods\.0\.name: field required"),
        ([3], r"^methods\.0: .*got 3"),
        ("hint", r"^methods\.0: hint compares features and needs student_layer"),
    ],
    ids=str,
)
def test_a_method_given_wrongly_is_one_line(given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_methods(given)
    assert "\n" not in str(caught.value)


# -- Schedules --


def _term(name="soft_target", **settings):
    return Term(name, MethodSettings(name=name, **settings), METHODS[name])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [9, 9, 9, 9, 9, 9]),
        ({"weight": 2}, [2, 2, 2, 2, 2, 2]),
        ({"weight": 0}, [0, 0, 0, 0, 0, 0]),
        ({"weight": 2, "warmup_epochs": 4}, [0.5, 1, 1.5, 2, 2, 2]),
        ({"warmup_epochs": 3}, [3, 6, 9, 9, 9, 9]),
        ({"warmup_epochs": 1}, [9, 9, 9, 9, 9, 9]),
    ],
    ids=str,
)
def test_weight_by_hand(settings, expected):
    term = _term("standardized", **settings)
    assert [float(term.weight(epoch)) for epoch in range(6)] == pytest.approx(expected)
    tensors = [float(term.weight(tf.constant(epoch, tf.float32))) for epoch in range(6)]
    assert tensors == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [4, 4, 4, 4, 4]),
        ({"temperature": 3}, [3, 3, 3, 3, 3]),
        # Quarters of half a turn: the cosine is 1, 0.7071, 0, -0.7071, -1.
        ({"temperature": 6, "final_temperature": 2}, [6, 5.414214, 4, 2.585786, 2]),
        ({"final_temperature": 8}, [4, 4.585786, 6, 7.414214, 8]),
    ],
    ids=str,
)
def test_temperature_by_hand(settings, expected):
    term = _term(**settings)
    values = [float(term.temperature(epoch, 5, 4.0)) for epoch in range(5)]
    assert values == pytest.approx(expected, abs=1e-5)
    tensors = [
        float(term.temperature(tf.constant(epoch, tf.float32), 5, 4.0)) for epoch in range(5)
    ]
    assert tensors == pytest.approx(expected, abs=1e-5)


def test_a_single_epoch_has_the_first_temperature():
    assert float(_term(temperature=6, final_temperature=2).temperature(0, 1, 4.0)) == 6


# -- The objective --


def test_names_are_unique_where_a_method_occurs_twice():
    settings = _settings({"name": "dist"}, {"name": "logit_mse"}, {"name": "dist", "weight": 3})
    terms = objective(settings.methods)
    assert [term.name for term in terms] == ["dist_1", "logit_mse", "dist_2"]
    assert [term.settings.weight for term in terms] == [None, None, 3]
    distiller = Distiller(None, _student(), settings.methods)
    names = [metric.name for metric in distiller.metrics]
    assert {"dist_1_loss", "dist_2_loss", "logit_mse_loss", "hard_loss"} <= set(names)
    assert len(set(names)) == len(names)


CLASSES, BATCH = 5, 8


def _student():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(CLASSES)(inputs))


def _echo():
    student = keras.Sequential([keras.Input((CLASSES,)), layers.Dense(CLASSES, use_bias=False)])
    student.set_weights([np.eye(CLASSES)])
    return student


def _convolutional(seed, channels):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 1))
    features = layers.Conv2D(channels, 2, name="features")(inputs)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(features)))


def _sum(name, student, teacher, labels, temperature):
    """Per example or scalar, by the second formulation."""
    values = {
        "soft_target": lambda: plain.soft_target_loss(student, teacher, temperature),
        "standardized": lambda: plain.soft_target_loss(
            plain.standardize_logits(student), plain.standardize_logits(teacher), temperature
        ),
        "logit_mse": lambda: plain.logit_mse_loss(student, teacher),
        "decoupled": lambda: plain.decoupled_loss(student, teacher, labels, temperature, 0.5, 3),
        "dist": lambda: plain.dist_loss(student, teacher, temperature, 2, 0.25),
    }
    return values[name]()


@pytest.mark.parametrize("weights", [None, np.linspace(0.2, 2, BATCH)], ids=["plain", "weighted"])
@pytest.mark.parametrize("epoch", [0, 3])
def test_a_combination_agrees_with_numpy(epoch, weights):
    settings = _settings(
        {"name": "soft_target", "weight": 0.7, "temperature": 5, "final_temperature": 2},
        {"name": "standardized", "warmup_epochs": 3},
        {"name": "logit_mse", "weight": 0.05},
        {"name": "decoupled", "temperature": 2, "target_weight": 0.5, "non_target_weight": 3},
        {"name": "dist", "weight": 2, "inter_weight": 2, "intra_weight": 0.25},
        alpha=0.3,
        temperature=3,
    )
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(scale=2, size=(2, BATCH, CLASSES))
    labels = rng.integers(0, CLASSES, BATCH)
    # A student that answers with what it is given, so that one epoch is one known batch.
    distiller = Distiller(None, _echo(), settings.methods, settings.alpha, settings.temperature)
    distiller.compile(keras.optimizers.SGD(0.0))
    y = {LABEL: labels, TEACHER_LOGITS: teacher.astype(np.float32)}
    history = distiller.fit(
        student, y, BATCH, epochs=7, initial_epoch=epoch, sample_weight=weights, verbose=0
    ).history

    # Epoch 3 of 0 … 6 is the middle of the cosine, and behind the warm-up.
    falling, rising = {0: (5, 9 / 3), 3: (3.5, 9)}[epoch]
    weighted = [
        (0.7, "soft_target", falling),
        (rising, "standardized", 3),
        (0.05, "logit_mse", None),
        (1, "decoupled", 2),
        (2, "dist", 3),
    ]
    hard = -log_softmax(student, axis=1)[np.arange(BATCH), labels]
    expected = 0.3 * np.average(hard, weights=weights)
    for weight, name, temperature in weighted:
        value = _sum(name, student, teacher, labels, temperature)
        # DIST compares the examples of a batch with each other: a scalar that nobody weighs.
        mean = np.average(value, weights=weights) if np.ndim(value) else value
        expected += 0.7 * weight * mean
        assert history[f"{name}_loss"][0] == pytest.approx(mean, rel=1e-4)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.features])
def test_feature_methods_agree_with_numpy(name):
    method = {"name": name, "student_layer": "features", "teacher_layer": "features"}
    # Maps of the same shape, so that the hint has no projector.
    student, teacher = _convolutional(0, 3), _convolutional(1, 3)
    distiller = Distiller(teacher, student, method, alpha=0.25)
    assert not distiller.projectors
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(BATCH, 4, 4, 1)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    logits = distiller(pixels, training=True)
    loss = distiller.compute_loss(pixels, labels, logits)
    first, second = (
        np.asarray(model.get_layer("features")(pixels), np.float64) for model in (student, teacher)
    )
    value = np.mean(METHODS[name].loss(plain, Inputs(first, second)))
    hard = -log_softmax(np.asarray(logits, np.float64), axis=1)[np.arange(BATCH), labels].mean()
    customary = {
        "hint": 100,
        "attention_transfer": 1000,
        "similarity_preserving": 3000,
        "relational_distance": 25,
        "relational_angle": 50,
    }
    expected = 0.25 * hard + 0.75 * customary[name] * value
    assert float(loss) == pytest.approx(expected, rel=1e-3)
