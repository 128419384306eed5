"""What a Keras user may get wrong: each mistake is one line that says how to go on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfx_distill as td

CLASSES = 3
HINT = {"name": "hint", "student_layer": "body", "teacher_layer": "body"}
X = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
Y = np.arange(24) % CLASSES


def _model(classes=CLASSES, activation=None):
    inputs = keras.Input((5,))
    x = layers.Dense(4, activation="relu", name="body")(inputs)
    x = layers.Reshape((2, 2), name="folded")(x)
    return keras.Model(inputs, layers.Dense(classes, activation, name="end")(layers.Flatten()(x)))


def _softmax_layer():
    return keras.Sequential([keras.Input((5,)), _model(), layers.Softmax(name="end")])


def _nested(activation):
    head = keras.Sequential([keras.Input((5,)), layers.Dense(CLASSES, activation, name="end")])
    return keras.Sequential([keras.Input((5,)), layers.Dense(5), head])


def _distill(teacher="default", student=None, y=Y, use="fit", **arguments):
    """All that a user does; `use` is `fit`, `evaluate` or `tf.data`."""
    teacher = _model() if isinstance(teacher, str) and teacher == "default" else teacher
    distiller = td.Distiller(teacher, student or _model(), **arguments)
    distiller.compile("adam")
    if use == "tf.data":
        distiller.fit(tf.data.Dataset.from_tensor_slices((X, y)).batch(8), verbose=0)
    else:
        getattr(distiller, use)(X, y, verbose=0)


KINDS = {
    "teacher with other outputs": (
        lambda: _distill(_model(4)),
        r"^the teacher \S+ has 4 outputs, the student 3; train both on the same data",
    ),
    "teacher that is a path": (
        lambda: _distill("teacher.keras"),
        r"^teacher must be a keras\.Model, got 'teacher\.keras'; load a file with keras\.saving",
    ),
    "student that is a path": (
        lambda: _distill(student="student.keras"),
        r"^student must be a keras\.Model, got 'student\.keras'; load",
    ),
    "teacher with softmax": (
        lambda: _distill(_model(activation="softmax")),
        r"^teacher must return logits, but the last layer of \S+, 'end', .*; build it without",
    ),
    "teacher with a softmax layer": (
        lambda: _distill(_softmax_layer()),
        r"^teacher must return logits, but the last layer of \S+, 'end'",
    ),
    "student with sigmoid inside": (
        lambda: _distill(student=_nested("sigmoid")),
        r"^student must return logits, but the last layer of \S+, 'end'",
    ),
    "nobody to learn from": (
        lambda: _distill(None),
        r"^no teacher: give teachers, or teacher_logits with the labels",
    ),
    "weights of teachers": (
        lambda: _distill(teacher_weights=[1, 2]),
        r"^teacher_weights must be one for each of 1 teacher\(s\), got \[1\.0, 2\.0\]",
    ),
    "weight of a teacher": (
        lambda: _distill(teacher_weights=[0]),
        r"^teacher_weights must be above 0, got \[0\.0\]; leave such teachers out",
    ),
    "alpha": (
        lambda: _distill(alpha=2),
        r"^alpha must lie in \[0, 1\], the weight of the labels, got 2; 0\.1 is usual",
    ),
    "alpha as text": (lambda: _distill(alpha="0.1"), r"^alpha must lie in .* got '0\.1'"),
    "temperature": (
        lambda: _distill(temperature=0),
        r"^temperature must be above 0, got 0; 4 is usual",
    ),
    "unknown method": (
        lambda: _distill(methods="soft_targets"),
        r"^methods\.0\.name must be one of soft_target, .*, got 'soft_targets'; did you mean "
        r"'soft_target'\?",
    ),
    "no method": (
        lambda: _distill(methods=[]),
        r"^methods must name at least one of soft_target, .*, got none; to learn from the labels "
        "alone, leave the teacher out or set alpha to 1",
    ),
    "no such kind of method": (
        lambda: _distill(methods=["dist", 3]),
        r"^methods\.1: must be a valid dictionary or instance of MethodSettings, got 3",
    ),
    "setting of a method": (
        lambda: _distill(methods={"name": "soft_target", "wieght": 1}),
        r"^methods\.0\.wieght: soft_target has no such setting; did you mean 'weight'\?",
    ),
    "value of a setting": (
        lambda: _distill(methods={"name": "soft_target", "weight": -1}),
        r"^methods\.0\.weight: must be greater than or equal to 0, got -1",
    ),
    "unknown layer": (
        lambda: _distill(methods={**HINT, "student_layer": "bdy"}),
        r"^methods\.0\.student_layer must name a layer of \S+, got 'bdy'; its layers: body, ",
    ),
    "no layer": (
        lambda: _distill(methods="hint"),
        r"^methods\.0: hint compares features and needs student_layer and teacher_layer",
    ),
    "layers that do not correspond": (
        lambda: _distill(methods={**HINT, "student_layer": "folded"}),
        r"^methods\.0: student features \(None, 2, 2\) cannot be projected to teacher features "
        r"\(None, 4\): .*; choose layers that correspond",
    ),
    "a loss for compile": (
        lambda: td.Distiller(_model(), _model()).compile("adam", loss="mse"),
        r"^compile must not be given loss: the Distiller has its losses from methods and alpha",
    ),
    "no labels": (
        lambda: _distill(y=None),
        r"^labels are needed: give them to fit and evaluate as y, or as",
    ),
    "labels in a list": (
        lambda: _distill(y=Y.tolist()),
        r"^y must be an array or a data set, got a list; give numpy\.array\(y\)",
    ),
    "too few labels": (
        lambda: _distill(y=Y[:-1]),
        r"^y must have a label for each of the 24 examples of x, got 23",
    ),
    "label out of range": (
        lambda: _distill(y=Y + 1),
        r"^y must hold class ids from 0 to 2, since the student has 3 outputs, got 3; number the",
    ),
    "negative label in evaluate": (
        lambda: _distill(y={"label": Y[:, None] - 1}, use="evaluate"),
        r"^y must hold class ids from 0 to 2, .* got -1; number the",
    ),
    "label out of range in a data set": (
        lambda: _distill(y=Y + 5, use="tf.data"),
        r"^y must hold class ids from 0 to 2, since the student has 3 outputs, got [567]; number",
    ),
    "labels one-hot of other classes": (
        lambda: _distill(y=np.eye(4)[Y]),
        r"^y must have a column for each of the student's 3 outputs, got 4 columns",
    ),
    "teacher_logits of other classes": (
        lambda: _distill(None, y={"label": Y, "teacher_logits": np.zeros((24, 2, 4))}),
        r"^teacher_logits must have a column for each of the student's 3 outputs, got 4 columns",
    ),
    "key of y": (
        lambda: _distill(y={"label": Y, "teacher_logit": np.zeros((24, 3))}),
        r"^y must have no keys but 'label', 'labeled', 'teacher_logits', got 'teacher_logit'; did",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_one_line(kind):
    use, message = KINDS[kind]
    with pytest.raises(td.UserError, match=message) as caught:
        use()
    assert "\n" not in str(caught.value)


def test_keras_itself_asks_for_compile():
    for use in ("fit", "evaluate"):
        with pytest.raises(ValueError, match=r"^You must call `compile\(\)` before using the"):
            getattr(td.Distiller(_model(), _model()), use)(X, Y, verbose=0)


def test_a_teacher_made_linear_as_the_message_says_is_taken():
    teacher = _model(activation="softmax")
    probabilities = teacher.predict(X, verbose=0)
    teacher.layers[-1].activation = keras.activations.linear
    td.Distiller(teacher, _model())
    answered = td.losses.temperature_softmax(teacher(X), 1.0)
    np.testing.assert_allclose(answered, probabilities, rtol=1e-5)


def test_labels_alone_need_no_method():
    for teacher, alpha in ((None, 0.1), (_model(), 1)):
        _distill(teacher, methods=(), alpha=alpha)
