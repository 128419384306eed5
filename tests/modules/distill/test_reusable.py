"""Tests of modules.distill.reusable: as if every objective had a Distiller of its own."""

import keras
import numpy as np
import pytest
from small_models import build

from modules.distill.distiller import Distiller
from modules.distill.reusable import ReusableDistiller
from modules.settings import DistillSettings, MethodSettings

RANDOM = np.random.default_rng(0)
IMAGES = {"image": RANDOM.integers(0, 256, (32, 8, 8, 1)).astype(np.uint8)}
LABELS = {
    "label": RANDOM.integers(0, 10, 32),
    "teacher_logits": RANDOM.normal(0, 3, (32, 10)).astype(np.float32),
}
OBJECTIVES = [
    DistillSettings(),
    DistillSettings(alpha=0.5, temperature=2),
    DistillSettings(methods=(MethodSettings(name="dist", weight=2.0),)),
]


def student():
    keras.utils.set_random_seed(3)
    return build("separable_cnn", filters=[4, 8], dropout=0.2)


def trained(distiller):
    distiller.fit(IMAGES, LABELS, batch_size=8, epochs=2, verbose=0, shuffle=False)
    return [np.array(each) for each in distiller.student.get_weights()]


@pytest.fixture(scope="module")
def reusable():
    made = ReusableDistiller([], student(), OBJECTIVES, None, "classification")
    made.compile(keras.optimizers.AdamW(0.01))
    return made


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_trains_as_alone_whatever_was_tried_before(reusable, objective):
    alone = Distiller([], student(), objective.methods, objective.alpha, objective.temperature)
    alone.compile(keras.optimizers.AdamW(0.01))
    expected = trained(alone)
    reusable.begin_anew(objective, epochs=2)
    for found, wanted in zip(trained(reusable), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_another_objective_or_number_of_epochs_compiles_nothing_again(reusable):
    reusable.begin_anew(OBJECTIVES[0], epochs=2)
    trained(reusable)
    compiled = reusable.train_function
    reusable.begin_anew(OBJECTIVES[1], epochs=7)
    trained(reusable)
    assert float(reusable.epochs.value) == 7
    assert compiled is not None and reusable.train_function is compiled


def test_without_objectives_it_learns_from_the_labels_alone():
    labels = {"label": LABELS["label"]}
    alone = Distiller(None, student(), ())
    made = ReusableDistiller(None, student(), [], None, "classification")
    for each in (alone, made):
        each.compile(keras.optimizers.AdamW(0.01))
    made.begin_anew(DistillSettings(alpha=1), epochs=1)
    for each in (alone, made):
        each.fit(IMAGES, labels, batch_size=8, epochs=1, verbose=0, shuffle=False)
    for found, wanted in zip(made.student.get_weights(), alone.student.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
