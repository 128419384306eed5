"""modules.distill.losses: hand-computed values, properties, a second formulation in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import losses_numpy as plain
import numpy as np
import pytest
import tensorflow as tf

from modules.distill import losses

CLASSES = 6


@dataclass(frozen=True)
class Case:
    """A loss with its settings; `of` and `plain` take student, teacher and labels."""

    of: Callable[..., Any]
    plain: Callable[..., Any]
    on_features: bool = False
    is_scalar: bool = False

    def batch(self, count: int = 5, seed: int = 0, scale: float = 1.5) -> tuple[Any, Any, Any]:
        """Student and teacher in float64, labels."""
        rng = np.random.default_rng(seed)
        shape = (count, 3, 2, 4) if self.on_features else (count, CLASSES)
        student, teacher = rng.normal(scale=scale, size=(2, *shape))
        return student, teacher, rng.integers(CLASSES, size=count)


def _case(name: str, *settings: float, **how: bool) -> Case:
    """A loss that takes no labels, here and in NumPy."""
    ours, second = getattr(losses, name), getattr(plain, name)
    return Case(
        lambda student, teacher, labels: ours(student, teacher, *settings),
        lambda student, teacher, labels: second(student, teacher, *settings),
        **how,
    )


ON_LOGITS = {
    "soft_target": _case("soft_target_loss", 3.0),
    "logit_mse": _case("logit_mse_loss"),
    "standardized": Case(
        lambda student, teacher, labels: losses.soft_target_loss(
            losses.standardize_logits(student), losses.standardize_logits(teacher), 2.0
        ),
        lambda student, teacher, labels: plain.soft_target_loss(
            plain.standardize_logits(student), plain.standardize_logits(teacher), 2.0
        ),
    ),
    "decoupled": Case(
        lambda student, teacher, labels: losses.decoupled_loss(student, teacher, labels, 4, 1, 8),
        lambda student, teacher, labels: plain.decoupled_loss(student, teacher, labels, 4, 1, 8),
    ),
    "dist": _case("dist_loss", 2.0, 1.0, 3.0, is_scalar=True),
}
# Of which each stands for itself, so that a shift of all of them is a change.
ON_LABELS = {
    "label_target": _case("label_target_loss", 3.0),
    "value": _case("value_loss", 2.5),
}
RELATIONS = {
    name: _case(f"{name}_loss", on_features=True, is_scalar=True)
    for name in ("similarity_preserving", "relational_distance", "relational_angle")
}
ON_FEATURES = {
    "hint": _case("hint_loss", on_features=True),
    "attention_transfer": _case("attention_transfer_loss", on_features=True),
    **RELATIONS,
}
LOSSES = ON_LOGITS | ON_LABELS | ON_FEATURES


def over(cases: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


def _value(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def _f32(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(array, np.float32) for array in arrays]


def _gradient(case: Case, student: Any, teacher: Any, labels: Any) -> tuple[Any, Any]:
    """The loss and the gradient of its sum in the student."""
    student = tf.convert_to_tensor(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = case.of(student, teacher, labels)
    return loss, tape.gradient(loss, student)


def _log(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows, np.float32))


# -- Hand-computed values --


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1, (0.665241, 0.244728, 0.090031)), (2, (0.506480, 0.307196, 0.186324))],
)
def test_softmax_by_hand(temperature: float, expected: tuple[float, ...]) -> None:
    softened = _value(losses.temperature_softmax([[2.0, 1.0, 0.0]], temperature))
    np.testing.assert_allclose(softened, [expected], atol=5e-7)


def test_softmax_is_over_the_classes_of_each_example() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5))
    softened = _value(losses.temperature_softmax(logits, 2.0))
    np.testing.assert_allclose(softened.sum(axis=1), 1.0)
    np.testing.assert_allclose(softened[1:2], losses.temperature_softmax(logits[1:2], 2.0))


def test_soft_target_by_hand() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2. As a cross-entropy it would
    # be ln 2; the other way round ln 2 / sqrt 3.
    teacher, student = _log([3, 1]), np.zeros((1, 2), np.float32)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert expected == pytest.approx(0.130812, abs=1e-6)
    assert _value(losses.soft_target_loss(student, teacher, 1)) == pytest.approx(expected)
    # The same distributions at T = 2 come from twice the logits, and count four times.
    softened = losses.soft_target_loss(student, 2 * teacher, 2)
    assert _value(softened) == pytest.approx(4 * expected)


def test_logit_mse_by_hand() -> None:
    # Half of 1 + 0 + 4; half of 9.
    loss = losses.logit_mse_loss([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[0.0, 2, 5], [0, 3, 0]])
    assert _value(loss).tolist() == [2.5, 4.5]


def test_standardize_by_hand() -> None:
    # (1, 2, 3): mean 2, sample deviation 1 (over all three it would be 0.816). Equal logits: zeros.
    standard = _value(losses.standardize_logits([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]]))
    np.testing.assert_allclose(standard, [[-1, 0, 1], [0, 0, 0]], atol=2e-7)


def test_decoupled_by_hand() -> None:
    # Label 0, teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4).
    # TCKD: (1/2, 1/2) from (1/4, 3/4) = 1/2 ln 2 + 1/2 ln 2/3 = 0.143841
    # NCKD: (1/2, 1/2) from (2/3, 1/3) = 1/2 ln 3/4 + 1/2 ln 3/2 = 0.058892
    teacher, student = _log([0.5, 0.25, 0.25]), _log([0.25, 0.5, 0.25])
    tckd, nckd = 0.5 * math.log(4 / 3), 0.5 * math.log(9 / 8)
    for a, b in ((1, 0), (0, 1), (1, 8)):
        loss = losses.decoupled_loss(student, teacher, [0], 1, a, b)
        assert _value(loss) == pytest.approx(a * tckd + b * nckd, rel=1e-5)
    softened = losses.decoupled_loss(4 * student, 4 * teacher, [0], 4, 1, 8)
    assert _value(softened) == pytest.approx(16 * (tckd + 8 * nckd), rel=1e-5)


def test_decoupled_of_the_utterly_sure_by_hand() -> None:
    # Label 0; the teacher is sure of class 1, the student of class 0.
    # TCKD: (0, 1) from (1, 2 exp -1e4) = 1e4 - ln 2. NCKD: (1, 0) from (1/2, 1/2) = ln 2.
    student, teacher = [[0.0, -1e4, -1e4]], [[-1e4, 0.0, -1e4]]
    assert _value(losses.decoupled_loss(student, teacher, [0], 1, 1, 0)) == pytest.approx(
        1e4 - math.log(2), abs=2e-3
    )
    assert _value(losses.decoupled_loss(student, teacher, [0], 1, 0, 1)) == pytest.approx(
        math.log(2)
    )


def test_dist_by_hand() -> None:
    # Row 1: (2, -1, -1) and (-1, 2, -1), centered and times 12: correlation -3/6. Row 2: equal.
    # Columns: 1/2 to 3/8 against 1/4 to 3/8: -1. The second likewise. The third: both constant, 0.
    teacher = _log([1 / 2, 1 / 4, 1 / 4], [3 / 8, 3 / 8, 1 / 4])
    student = _log([1 / 4, 1 / 2, 1 / 4], [3 / 8, 3 / 8, 1 / 4])
    assert _value(losses.dist_loss(student, teacher, 1, 1, 0)) == pytest.approx(1.5 / 2)
    assert _value(losses.dist_loss(student, teacher, 1, 0, 1)) == pytest.approx((2 + 2 + 0) / 3)
    assert _value(losses.dist_loss(student, teacher, 1, 2, 3)) == pytest.approx(1.5 + 4)
    softened = losses.dist_loss(2 * student, 2 * teacher, 2, 2, 3)
    assert _value(softened) == pytest.approx(4 * (1.5 + 4))


def test_dist_of_the_constant_by_hand() -> None:
    # The student's columns are constant, of the teacher's only the third: 1 + 1 + 0.
    # Its first row is constant, the teacher's not: 1.
    teacher = _log([1 / 2, 1 / 6, 1 / 3], [1 / 6, 1 / 2, 1 / 3])
    student = np.zeros((2, 3), np.float32)
    assert _value(losses.dist_loss(student, teacher, 1, 0, 1)) == pytest.approx(2 / 3)
    assert _value(losses.dist_loss(student, teacher, 1, 1, 0)) == pytest.approx(1)


def test_hint_by_hand() -> None:
    # (1 + 0 + 0 + 4) / 4, and (9 + 0 + 0 + 0) / 4.
    student = np.array([[[1, 2], [3, 4]], [[0, 0], [0, 0]]], np.float32)
    teacher = np.array([[[0, 2], [3, 2]], [[3, 0], [0, 0]]], np.float32)
    assert _value(losses.hint_loss(student, teacher)).tolist() == [1.25, 2.25]


def _with_energy(rows: list[list[float]]) -> np.ndarray:
    """One example of two channels, whose mean squares are the rows."""
    root = np.sqrt(np.array(rows, np.float32))
    return np.stack([root, -root], axis=-1)[None]


def test_attention_transfer_by_hand() -> None:
    # Energies (3, 4) and (8, 6): Q is (0.6, 0.8) and (0.8, 0.6); the mean of 0.04 and 0.04.
    student, teacher = _with_energy([[3, 4]]), _with_energy([[8, 6]])
    assert _value(losses.attention_transfer_loss(student, teacher)) == pytest.approx(0.04)
    # Of a larger map the energies are averaged, (10 + 6) / 2 and (5 + 7) / 2, on either side.
    larger = _with_energy([[10, 6, 5, 7]])
    assert _value(losses.attention_transfer_loss(student, larger)) == pytest.approx(0.04)
    assert _value(losses.attention_transfer_loss(larger, student)) == pytest.approx(0.04)


def test_similarity_preserving_by_hand() -> None:
    # G_s = I; every entry of G_t is sqrt 1/2: (2 (1 - sqrt 1/2)^2 + 2 * 1/2) / 4 = 1 - sqrt 1/2.
    loss = losses.similarity_preserving_loss([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]])
    assert _value(loss) == pytest.approx(1 - math.sqrt(0.5))


def test_relational_distance_by_hand() -> None:
    # On a line: 0, 1, 3 have distances 1, 2, 3 over their mean 2: 1/2, 1, 3/2.
    # 0, 1, 2 have 1, 1, 2 over 4/3: 3/4, 3/4, 3/2. Four of nine entries differ, by 1/4.
    # With the diagonal in the means these would be 4/3 and 8/9.
    loss = losses.relational_distance_loss([[0.0], [1.0], [3.0]], [[0.0], [1.0], [2.0]])
    assert _value(loss) == pytest.approx(4 * (1 / 32) / 9)


def test_relational_distance_is_huber_not_a_square() -> None:
    # Three points coincide and a fourth is apart: six of twelve distances are positive, each 1
    # over the mean 1. Teacher: 0, 1 and two at 10: 1, 10, 10, 9, 9, 0 over their mean 39/5.
    student = [[0.0], [0.0], [0.0], [1.0]]
    teacher = [[0.0], [1.0], [10.0], [10.0]]
    pairs = [(0, 1), (0, 10), (1, 10), (0, 9), (1, 9), (1, 0)]
    sizes = [abs(s - t * 5 / 39) for s, t in pairs]
    assert max(sizes) > 1
    expected = 2 * sum(x * x / 2 if x <= 1 else x - 1 / 2 for x in sizes) / 16
    assert _value(losses.relational_distance_loss(student, teacher)) == pytest.approx(expected)


def test_relational_angle_by_hand() -> None:
    # A right isosceles triangle: cosines 0, sqrt 1/2, sqrt 1/2. Three on a line: 1, -1, 1.
    # Huber of -1, 1 + sqrt 1/2 and sqrt 1/2 - 1: 1/2, 1/2 + sqrt 1/2, 3/4 - sqrt 1/2; each twice,
    # 7/2 in all. The cosines of a direction with itself are 1 on both sides, the rest is 0.
    student = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    teacher = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    assert _value(losses.relational_angle_loss(student, teacher)) == pytest.approx(3.5 / 27)


def test_relational_angle_of_degenerate_triples_is_zero_by_hand() -> None:
    # The student's points 1 and 2 coincide: at 0 the pairs (1,1), (1,2), (2,1), (2,2) have cosine
    # 1, at 1 and at 2 only (0,0). The teacher's triangle is equilateral: 1 for equal j and k, 1/2
    # for the two pairs of unlike ones.
    student = [[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]
    teacher = [[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]]
    # At 0: twice 1 - 1/2. At 1 and at 2: twice 0 - 1/2, and 0 - 1 for the coinciding one.
    expected = (2 * (1 / 8) + 2 * (2 * (1 / 8) + 1 / 2)) / 27
    assert _value(losses.relational_angle_loss(student, teacher)) == pytest.approx(expected)


# -- Agreement with the second formulation --


@over(LOSSES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_numpy(case: Case, seed: int, dtype: str) -> None:
    student, teacher, labels = case.batch(count=4 + 2 * seed, seed=seed)
    loss = _value(case.of(student.astype(dtype), teacher.astype(dtype), labels))
    expected = case.plain(student, teacher, labels)
    assert loss.dtype == dtype
    assert loss.shape == (() if case.is_scalar else (len(labels),)) == np.shape(expected)
    np.testing.assert_allclose(loss, expected, rtol=1e-9 if dtype == "float64" else 2e-5)


@over(LOSSES)
def test_gradient_agrees_with_differences_of_numpy(case: Case) -> None:
    student, teacher, labels = case.batch(count=3, seed=7)
    _, gradient = _gradient(case, student, teacher, labels)
    expected, step = np.empty_like(student), 1e-5
    for index in np.ndindex(student.shape):
        moved = np.zeros_like(student)
        moved[index] = step
        ahead, behind = (
            np.sum(case.plain(student + sign * moved, teacher, labels)) for sign in (1, -1)
        )
        expected[index] = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.5, 1, 4.0])
def test_softmax_and_standardize_agree_with_numpy(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(scale=3, size=(4, 3 + seed))
    np.testing.assert_allclose(
        losses.temperature_softmax(logits, temperature),
        plain.temperature_softmax(logits, temperature),
    )
    np.testing.assert_allclose(losses.standardize_logits(logits), plain.standardize_logits(logits))


@pytest.mark.parametrize(
    ("student_size", "teacher_size"),
    [((4, 4), (8, 8)), ((8, 8), (4, 4)), ((3, 5), (7, 4)), ((7, 7), (2, 3)), ((1, 1), (5, 6))],
)
def test_attention_transfer_pools_each_axis_of_the_larger(
    student_size: tuple[int, int], teacher_size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    student, teacher = (
        rng.normal(size=(2, *student_size, 3)),
        rng.normal(size=(2, *teacher_size, 5)),
    )
    loss = _value(losses.attention_transfer_loss(student, teacher))
    expected = plain.attention_transfer_loss(student, teacher)
    np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=1e-12)


@over(RELATIONS)
def test_relations_compare_features_of_unlike_shapes(case: Case) -> None:
    rng = np.random.default_rng(4)
    student, teacher = rng.normal(size=(5, 7)), rng.normal(size=(5, 2, 3, 4))
    expected = case.plain(student, teacher, None)
    np.testing.assert_allclose(case.of(student, teacher, None), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2), (3, 2, 2, 2, 2)])
def test_hint_takes_any_rank(shape: tuple[int, ...]) -> None:
    student, teacher = np.random.default_rng(5).normal(size=(2, *shape))
    loss = losses.hint_loss(student, teacher)
    np.testing.assert_allclose(loss, plain.hint_loss(student, teacher))


# -- Properties of every loss --


@over(LOSSES)
@pytest.mark.parametrize("count", [5, 1])
def test_zero_where_both_agree(case: Case, count: int) -> None:
    student, _, labels = case.batch(count)
    loss, gradient = _gradient(case, *_f32(student, student), labels)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


@over(LOSSES)
@pytest.mark.parametrize("distance", [2.0, 0.1, 1e-3])
def test_never_negative_and_positive_where_they_differ(case: Case, distance: float) -> None:
    student, noise, labels = case.batch(seed=11)
    loss = _value(case.of(student, student + distance * noise, labels))
    assert (loss > 0).all()
    # In float32 a divergence is right to some 1e-7, times T squared and the weight (here 8 * 16).
    assert (_value(case.of(*_f32(student, student + distance * noise), labels)) > -2e-5).all()


@over(LOSSES)
def test_no_gradient_reaches_the_teacher(case: Case) -> None:
    student, teacher, labels = case.batch()
    student, teacher = tf.constant(student), tf.constant(teacher)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([student, teacher])
        loss = case.of(student, teacher, labels)
    assert tape.gradient(loss, teacher) is None
    assert np.abs(tape.gradient(loss, student)).max() > 1e-4


@over(LOSSES)
def test_order_of_the_examples_does_not_matter(case: Case) -> None:
    student, teacher, labels = case.batch(6)
    order = np.array([3, 0, 5, 1, 4, 2])
    loss = _value(case.of(student, teacher, labels))
    permuted = _value(case.of(student[order], teacher[order], labels[order]))
    np.testing.assert_allclose(permuted, loss if case.is_scalar else loss[order], rtol=1e-9)


@over({name: case for name, case in LOSSES.items() if not case.is_scalar})
def test_examples_are_judged_one_by_one(case: Case) -> None:
    student, teacher, labels = case.batch(4)
    loss = _value(case.of(student, teacher, labels))
    alone = [case.of(*(part[i : i + 1] for part in (student, teacher, labels))) for i in range(4)]
    np.testing.assert_allclose(np.concatenate(alone), loss)


EXTREMES = {
    "opposite": lambda s, t: (1e4 * np.sign(s), -1e4 * np.sign(s)),
    "unrelated": lambda s, t: (1e4 * np.sign(s), 1e4 * np.sign(t)),
    "equal": lambda s, t: (1e4 * np.sign(s), 1e4 * np.sign(s)),
    "large student": lambda s, t: (1e4 * np.tanh(s), t),
    "large teacher": lambda s, t: (s, 1e4 * np.tanh(t)),
    "zeros": lambda s, t: (0 * s, 0 * t),
    "student zero": lambda s, t: (0 * s, t),
    "teacher zero": lambda s, t: (s, 0 * t),
    "constant": lambda s, t: (0 * s + 0.1, 0 * t - 1e4),
    "one example repeated": lambda s, t: (s[:1] + 0 * s, t[:1] + 0 * t),
    "student repeats one": lambda s, t: (s[:1] + 0 * s, t),
    "two examples coincide": lambda s, t: (np.concatenate([s[:1], s[:1], s[2:]])[: len(s)], t),
    "nearly coincide": lambda s, t: (s[:1] + 1e-3 * s, t[:1] + 1e-3 * t),
}


@over(LOSSES)
@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES.keys())
@pytest.mark.parametrize("count", [4, 1])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_value_and_gradient_are_finite(
    case: Case, extreme: Callable[..., Any], count: int, dtype: str
) -> None:
    student, teacher, labels = case.batch(count)
    student, teacher = (array.astype(dtype) for array in extreme(student, teacher))
    loss, gradient = _gradient(case, student, teacher, labels)
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()


@over(LOSSES)
@pytest.mark.parametrize("scale", [1e-7, 1e-12, 1e-19, 1e-22, 1e-30])
def test_value_and_gradient_of_the_tiny_are_finite(case: Case, scale: float) -> None:
    student, teacher, labels = case.batch()
    loss, gradient = _gradient(case, *_f32(scale * student, scale * teacher), labels)
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()


@over(LOSSES)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(case: Case, dtype: tf.DType) -> None:
    student, teacher, labels = case.batch()
    student, teacher = tf.cast(student, dtype), tf.cast(teacher, dtype)
    loss, gradient = _gradient(case, student, teacher, labels)
    expected = case.of(tf.cast(student, "float32"), tf.cast(teacher, "float32"), labels)
    assert loss.dtype == tf.float32
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(loss, expected)


@over(LOSSES)
def test_teacher_may_have_another_precision(case: Case) -> None:
    student, teacher, labels = case.batch()
    half = teacher.astype(np.float16)
    loss = case.of(student.astype(np.float32), half, labels)
    np.testing.assert_allclose(loss, case.of(student, half.astype(float), labels), rtol=2e-5)


def test_half_precision_softmax_and_standardize() -> None:
    logits = np.array([[2.0, 1.0, 0.0]], np.float16)
    assert losses.temperature_softmax(logits, 2).dtype == tf.float32
    assert losses.standardize_logits(logits).dtype == tf.float32


@over(LOSSES)
@pytest.mark.parametrize(
    "jit_compile",
    [False, pytest.param(True, marks=pytest.mark.thorough)],
    ids=["graph", "jit"],
)
def test_compiles_once_for_every_batch_size(case: Case, jit_compile: bool) -> None:
    shape = [None, *case.batch()[0].shape[1:]]
    traced = []

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec(shape),
            tf.TensorSpec(shape),
            tf.TensorSpec([None], tf.int64),
        ],
    )
    def compiled(student: Any, teacher: Any, labels: Any) -> tuple[Any, Any]:
        traced.append(student.shape)
        return _gradient(case, student, teacher, labels)

    for count in (5, 1):
        student, teacher, labels = case.batch(count)
        batch = (*_f32(student, teacher), labels)
        for got, expected in zip(compiled(*batch), _gradient(case, *batch), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert traced == [tf.TensorShape(shape)]


# -- Temperature and weights --

SOFTENED = {
    "soft_target": lambda s, t, y, temperature: losses.soft_target_loss(s, t, temperature),
    "decoupled": lambda s, t, y, temperature: losses.decoupled_loss(s, t, y, temperature, 1, 8),
    "dist": lambda s, t, y, temperature: losses.dist_loss(s, t, temperature, 1, 2),
}
softened = pytest.mark.parametrize("loss", SOFTENED.values(), ids=SOFTENED.keys())


@softened
@pytest.mark.parametrize("temperature", [0.5, 2, 7.0])
def test_temperature_counts_squared(loss: Callable[..., Any], temperature: float) -> None:
    # T times the logits at temperature T are the same distributions.
    student, teacher, labels = LOSSES["soft_target"].batch()
    cold = _value(loss(student, teacher, labels, 1))
    hot = _value(loss(temperature * student, temperature * teacher, labels, temperature))
    np.testing.assert_allclose(hot, temperature**2 * cold)


@pytest.mark.parametrize("name", ["soft_target", "decoupled"])
def test_gradient_keeps_its_scale_as_the_temperature_grows(name: str) -> None:
    student, teacher, labels = LOSSES[name].batch()
    sizes = []
    for temperature in (1, 3, 30, 1000):
        case = Case(lambda s, t, y, at=temperature: SOFTENED[name](s, t, y, at), plain.hint_loss)
        sizes.append(np.linalg.norm(_gradient(case, student, teacher, labels)[1]))
    # Without the factor they would fall by some five orders of magnitude.
    assert max(sizes) < 5 * min(sizes)


def test_soft_target_tends_to_the_regression_on_logits() -> None:
    student, teacher, labels = LOSSES["soft_target"].batch()
    hot = Case(lambda s, t, y: losses.soft_target_loss(s, t, 1e4), plain.hint_loss)
    loss, gradient = _gradient(hot, student, teacher, labels)
    centered = [logits - logits.mean(axis=1, keepdims=True) for logits in (student, teacher)]
    np.testing.assert_allclose(gradient, np.subtract(*centered) / CLASSES, atol=1e-4)
    np.testing.assert_allclose(loss, _value(losses.logit_mse_loss(*centered)) / CLASSES, rtol=1e-3)


@softened
@pytest.mark.parametrize(
    "make",
    [
        lambda value: tf.constant(value, tf.float32),
        lambda value: tf.constant(value, tf.float64),
        lambda value: keras.Variable(value, trainable=False),
        np.float64,
        np.int64,
        lambda value: np.array(value, np.float32),
    ],
)
def test_temperature_may_be_a_scheduled_tensor(loss: Callable[..., Any], make: Any) -> None:
    student, teacher, labels = LOSSES["soft_target"].batch()
    got = loss(*_f32(student, teacher), labels, make(3.0))
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, loss(student, teacher, labels, 3.0), rtol=1e-5)
    probabilities = losses.temperature_softmax(_f32(student)[0], make(3.0))
    np.testing.assert_allclose(probabilities, losses.temperature_softmax(student, 3.0), rtol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_weights_may_be_scheduled_tensors(dtype: tf.DType) -> None:
    student, teacher, labels = LOSSES["soft_target"].batch()
    a, b = tf.constant(0.5, dtype), tf.constant(2, dtype)
    student, teacher = _f32(student, teacher)
    np.testing.assert_array_equal(
        losses.decoupled_loss(student, teacher, labels, 2, a, b),
        losses.decoupled_loss(student, teacher, labels, 2, 0.5, 2),
    )
    np.testing.assert_array_equal(
        losses.dist_loss(student, teacher, 2, a, b), losses.dist_loss(student, teacher, 2, 0.5, 2)
    )


@softened
@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, np.float32(0)])
def test_temperature_must_be_positive(loss: Callable[..., Any], temperature: float) -> None:
    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"temperature must be a positive, finite number, got .*"):
        loss(logits, logits, [0, 1], temperature)
    with pytest.raises(ValueError, match=f"got .*{temperature}"):
        losses.temperature_softmax(logits, temperature)


# -- What logits may do without consequence --


@over({name: case for name, case in ON_LOGITS.items() if name != "logit_mse"})
def test_shift_of_an_example_s_logits_does_not_matter(case: Case) -> None:
    # On probabilities instead of logits it would.
    student, teacher, labels = case.batch()
    shift = np.linspace(-50, 50, len(labels))[:, None]
    shifted = case.of(student + shift, teacher - 2 * shift, labels)
    np.testing.assert_allclose(shifted, case.of(student, teacher, labels), rtol=1e-8)


@over(ON_LOGITS)
def test_order_of_the_classes_does_not_matter(case: Case) -> None:
    student, teacher, labels = case.batch()
    order = np.array([2, 0, 5, 1, 3, 4])
    permuted = case.of(student[:, order], teacher[:, order], np.argsort(order)[labels])
    np.testing.assert_allclose(permuted, case.of(student, teacher, labels), rtol=1e-9)


def test_standardize_leaves_mean_zero_and_sample_deviation_one() -> None:
    logits = np.random.default_rng(0).normal(loc=3, scale=[[0.1], [1], [100]], size=(3, 8))
    standard = _value(losses.standardize_logits(logits))
    np.testing.assert_allclose(standard.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(standard.std(axis=1, ddof=1), 1, rtol=1e-5)
    np.testing.assert_allclose(losses.standardize_logits(7 * logits - 5), standard, rtol=1e-5)
    assert (_value(losses.standardize_logits(-logits)) == -standard).all()


def test_standardize_adds_a_ten_millionth_to_the_deviation() -> None:
    # (-1e-7, 0, 1e-7) has the deviation 1e-7: half of (-1, 0, 1).
    standard = losses.standardize_logits([[-1e-7, 0.0, 1e-7]])
    np.testing.assert_allclose(standard, [[-0.5, 0, 0.5]], rtol=1e-5)


@pytest.mark.parametrize("classes", [6, 7])
def test_gradient_of_equal_logits_is_not_blown_up_by_standardization(classes: int) -> None:
    # The mean of seven float32 tenths is not a tenth; that of six is.
    teacher = np.random.default_rng(0).normal(size=(4, classes))
    student, teacher = _f32(0 * teacher + 0.1, teacher)
    assert (np.mean(student[0]) == student[0, 0]) == (classes == 6)
    _, gradient = _gradient(LOSSES["standardized"], student, teacher, None)
    assert 1e-3 < np.abs(gradient).max() < 10


@pytest.mark.parametrize(("inter", "intra"), [(1, 0), (0, 1)])
def test_dist_ignores_affine_changes_of_the_probabilities(inter: int, intra: int) -> None:
    _, teacher, _ = LOSSES["dist"].batch()
    probabilities = plain.temperature_softmax(teacher, 1)
    student = np.log(0.3 * probabilities + 0.7 / CLASSES)
    assert _value(losses.dist_loss(student, teacher, 1, inter, intra)) == pytest.approx(0, abs=1e-9)
    # The soft target does not.
    assert _value(losses.soft_target_loss(student, teacher, 1)).min() > 1e-2


@pytest.mark.parametrize("count", range(2, 16))
def test_gradient_of_equal_examples_is_not_blown_up_by_dist(count: int) -> None:
    # Columns are constant; in some batches their mean is rounded, in others it is exact.
    student, teacher, labels = LOSSES["dist"].batch(count)
    _, gradient = _gradient(LOSSES["dist"], *_f32(student[:1] + 0 * student, teacher), labels)
    assert 1e-3 < np.abs(gradient).max() < 10


def test_gradient_of_equal_logits_is_not_blown_up_by_dist() -> None:
    student, teacher, labels = LOSSES["dist"].batch()
    _, gradient = _gradient(LOSSES["dist"], *_f32(0 * student, teacher), labels)
    assert 1e-3 < np.abs(gradient).max() < 10


@pytest.mark.parametrize("temperature", [1, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_decoupled_parts_make_up_the_soft_target(temperature: float, seed: int) -> None:
    student, teacher, labels = LOSSES["decoupled"].batch(seed=seed)
    tckd = _value(losses.decoupled_loss(student, teacher, labels, temperature, 1, 0))
    nckd = _value(losses.decoupled_loss(student, teacher, labels, temperature, 0, 1))
    p_target = _value(losses.temperature_softmax(teacher, temperature))[np.arange(5), labels]
    whole = losses.soft_target_loss(student, teacher, temperature)
    np.testing.assert_allclose(tckd + (1 - p_target) * nckd, whole)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_decoupled_takes_labels_of_any_integer_type(dtype: str) -> None:
    student, teacher, labels = LOSSES["decoupled"].batch()
    loss = losses.decoupled_loss(student, teacher, labels.astype(dtype), 4, 1, 8)
    np.testing.assert_allclose(loss, plain.decoupled_loss(student, teacher, labels, 4, 1, 8))


def test_decoupled_of_two_classes_has_no_other_classes_to_compare() -> None:
    student, teacher, labels = [[1.0, -1.0]], [[-2.0, 0.5]], [1]
    assert _value(losses.decoupled_loss(student, teacher, labels, 2, 0, 1)) == pytest.approx(0)
    whole = _value(losses.soft_target_loss(student, teacher, 2))
    assert _value(losses.decoupled_loss(student, teacher, labels, 2, 1, 1)) == pytest.approx(whole)


# -- What features may do without consequence --


def _rotation(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


@over(RELATIONS)
def test_relations_survive_rotation_and_scaling(case: Case) -> None:
    student, teacher, _ = (np.reshape(part, (5, -1)) for part in case.batch())
    loss = _value(case.of(student, teacher, None))
    turned = case.of(student @ _rotation(24, 1), teacher @ _rotation(24, 2), None)
    np.testing.assert_allclose(turned, loss, rtol=1e-9)
    np.testing.assert_allclose(case.of(100 * student, 0.01 * teacher, None), loss, rtol=1e-9)
    wider = case.of(np.pad(student, ((0, 0), (0, 3))), teacher, None)
    np.testing.assert_allclose(wider, loss, rtol=1e-9)


@over({name: case for name, case in RELATIONS.items() if name.startswith("relational")})
def test_distances_and_angles_survive_translation(case: Case) -> None:
    student, teacher, _ = case.batch()
    moved = case.of(student + 5, teacher - 3, None)
    np.testing.assert_allclose(moved, case.of(student, teacher, None), rtol=1e-9)


def test_attention_transfer_ignores_scale_and_channels() -> None:
    student, teacher, _ = LOSSES["attention_transfer"].batch()
    loss = losses.attention_transfer_loss(student, teacher)
    changed = losses.attention_transfer_loss(-100 * student @ _rotation(4, 1), 1e-3 * teacher)
    np.testing.assert_allclose(changed, loss, rtol=1e-9)


@over({name: ON_FEATURES[name] for name in ("attention_transfer", "similarity_preserving")})
@pytest.mark.parametrize("scale", [3e-10, 1e10])
def test_norms_neither_underflow_nor_overflow_in_float32(case: Case, scale: float) -> None:
    student, teacher, labels = case.batch()
    loss = case.of(*_f32(scale * student, teacher), labels)
    np.testing.assert_allclose(loss, case.of(student, teacher, labels), rtol=1e-5)


def test_attention_of_an_example_without_features_is_zero() -> None:
    # Q is 0 against a unit vector over 6 positions.
    teacher = LOSSES["attention_transfer"].batch(1)[1]
    loss = losses.attention_transfer_loss(0 * teacher, teacher)
    assert _value(loss) == pytest.approx(1 / 6)


@over({name: case for name, case in RELATIONS.items() if name.startswith("relational")})
def test_relations_are_exact_for_close_points_far_from_the_origin(case: Case) -> None:
    # Ten points around an offset of 100 times their spread, pairs of them a thousandth apart.
    rng = np.random.default_rng(8)
    student, teacher = (
        (100 + np.repeat(rng.normal(size=(5, 64)), 2, 0) + 1e-3 * rng.normal(size=(10, 64)))
        for _ in range(2)
    )
    student, teacher = _f32(student, teacher)
    expected = case.plain(student.astype(float), teacher.astype(float), None)
    np.testing.assert_allclose(case.of(student, teacher, None), expected, rtol=1e-5)


def test_relations_without_distances_are_zero() -> None:
    # No positive distance on the student's side: its distances and cosines are all 0.
    student, teacher = np.ones((3, 4)), np.eye(3, 4)
    # Six of nine relative distances of the teacher are 1; it has six cosines of 1, six of 1/2.
    assert _value(losses.relational_distance_loss(student, teacher)) == pytest.approx(6 * 0.5 / 9)
    assert _value(losses.relational_angle_loss(student, teacher)) == pytest.approx(
        (6 * 0.5 + 6 * 0.125) / 27
    )


def test_relational_angle_never_builds_differences_of_features() -> None:
    # Of all tensors in the graph of loss and gradient none is larger than b^3 and b * d.
    count, width = 16, 512
    case = LOSSES["relational_angle"]
    spec = tf.TensorSpec([count, width])
    compute = tf.function(lambda student, teacher: _gradient(case, student, teacher, None))
    graph = compute.get_concrete_function(spec, spec).graph
    sizes = [
        output.shape.num_elements()
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.is_fully_defined()
    ]
    assert count**3 in sizes
    assert max(sizes) == count * width


# -- Errors --


@pytest.mark.parametrize(
    "loss",
    [
        lambda s, t: losses.soft_target_loss(s, t, 2),
        losses.logit_mse_loss,
        lambda s, t: losses.decoupled_loss(s, t, [0, 1], 2, 1, 1),
        lambda s, t: losses.dist_loss(s, t, 2, 1, 1),
        losses.hint_loss,
    ],
)
@pytest.mark.parametrize("teacher_shape", [(2, 1), (2, 5), (2,), (2, 3, 1)])
def test_shapes_must_be_alike(loss: Callable[..., Any], teacher_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2,"):
        loss(np.zeros((2, 3)), np.zeros(teacher_shape))


@pytest.mark.parametrize("labels", [[[0], [1]], np.eye(2, 3)])
def test_labels_must_be_class_ids(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"labels must have the shape \[batch\], got \(2, "):
        losses.decoupled_loss(np.zeros((2, 3)), np.zeros((2, 3)), labels, 1, 1, 1)


def test_attention_transfer_needs_maps() -> None:
    maps, vectors = np.zeros((2, 3, 3, 1)), np.zeros((2, 9))
    with pytest.raises(ValueError, match=r"student_features must .* got \(2, 9\)"):
        losses.attention_transfer_loss(vectors, maps)
    with pytest.raises(ValueError, match=r"teacher_features must .* got \(2, 9\)"):
        losses.attention_transfer_loss(maps, vectors)


def test_a_label_is_a_choice_between_two_classes():
    student, teacher = np.random.default_rng(4).normal(scale=3, size=(2, 9, 1))
    zero = np.zeros((9, 1))
    pairs = [np.concatenate([zero, each], axis=1) for each in (student, teacher)]
    np.testing.assert_allclose(
        losses.label_target_loss(student, teacher, 2.0),
        losses.soft_target_loss(*pairs, 2.0),
        rtol=1e-10,
    )


def test_label_target_by_hand():
    # T = 2. The teacher's logit 2 ln 3 softened: 3/4 to 1/4; the student's 0: 1/2 to 1/2.
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2). Two equal labels count twice.
    teacher = np.full((1, 2), 2 * math.log(3))
    expected = 2 * 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    (found,) = losses.label_target_loss(np.zeros((1, 2)), teacher, 2.0)
    assert float(found) == pytest.approx(expected)


def test_values_by_hand():
    # Errors 3 and 4 in units of 2: (9/4 + 16/4) / 2.
    (found,) = losses.value_loss(np.array([[1.0, 5.0]]), np.array([[4.0, 1.0]]), 2.0)
    assert float(found) == pytest.approx(25 / 8)
