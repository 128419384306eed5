"""The study's arms on real digits, and a whole group of cells as a worker trains it."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from image_data import image_spec
from scipy.special import log_softmax

from bench import study_arms
from bench.study_arms import Arrays, Cell, Clock, cross_entropy, joined
from modules.data.examples import ExampleData
from modules.distill.training_config import TrainingConfig
from modules.models.zoo import build_model
from modules.settings import AugmentSettings, DataSettings, ModelSettings, TrainSettings
from modules.teachers import soft_targets

SPEC = image_spec()
DATA = DataSettings(validation_fraction=0.3)
STUDENT = ModelSettings(
    model="separable_cnn",
    parameters={"filters": [4, 8]},
    train=TrainSettings(epochs=3, learning_rate=0.02, batch_size=50),
)


@pytest.fixture(scope="module")
def cell(transformed_digits, tmp_path_factory):
    """A student of 200 digits, all with labels, and an untrained teacher that has answered them."""
    directory = tmp_path_factory.mktemp("cell")
    keras.utils.set_random_seed(1)
    teacher = build_model(
        STUDENT.model_copy(update={"parameters": {"filters": [8, 16]}}), SPEC.by_name, SPEC.output
    )
    data = ExampleData([transformed_digits.pattern], SPEC, DATA)
    answers = str(directory / "soft_targets")
    soft_targets.compute([teacher], data, soft_targets.Request(0, AugmentSettings(), 0), answers)
    everything = joined([(x, y) for x, y, _ in data.everything(64)], SPEC)
    validation = joined([(x, y["label"]) for x, y in data.validation(64)], SPEC)
    return Cell(
        config=TrainingConfig(
            model=STUDENT, data=DATA, teacher_weights=(1.0,), soft_targets_dir=answers, seed=5
        ),
        train_files=[transformed_digits.pattern],
        transform_graph=transformed_digits.graph_dir,
        spec=SPEC,
        directory=directory,
        teacher=teacher,
        labeled=everything,
        validation=validation,
        unlabeled=joined([], SPEC),
    )


def test_no_batches_are_no_examples():
    nothing = joined([], SPEC)
    assert len(nothing) == 0 and nothing.inputs["image"].shape == (0, 8, 8, 1)
    some = Arrays({"image": np.ones((2, 8, 8, 1), np.uint8)}, np.array([3, 4]))
    both = some.and_also(nothing).and_also(some)
    assert both.labels.tolist() == [3, 4, 3, 4] and both.inputs["image"].shape == (4, 8, 8, 1)


def test_cross_entropy_is_the_usual_one(cell):
    logits = study_arms.logits_of(cell.teacher, cell.validation)
    expected = -log_softmax(logits, -1)[np.arange(len(logits)), cell.validation.labels].mean()
    assert cross_entropy(cell.teacher, cell.validation) == pytest.approx(expected)


def test_the_clock_lowers_the_rate_and_ends_the_training(monkeypatch):
    """Ten seconds, one for each step; the time begins behind the first."""
    seconds = itertools.count(100)
    monkeypatch.setattr(study_arms.time, "process_time", lambda: next(seconds) / 2)
    rates = []
    rate = SimpleNamespace(assign=rates.append)
    clock = Clock(0.02, seconds=10)
    clock.set_model(
        SimpleNamespace(stop_training=False, optimizer=SimpleNamespace(learning_rate=rate))
    )
    while not clock.model.stop_training:
        clock.on_train_batch_begin(0)
        clock.on_train_batch_end(0)
    assert rates[:2] == [0.02, pytest.approx(0.01 * (1 + np.cos(np.pi * 0.05)))]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) == 11 and rates[-1] < 0.001


@pytest.mark.thorough
@pytest.mark.slow
def test_all_arms_begin_with_the_same_weights_and_learn(cell):
    first = [each.numpy() for each in cell.build().trainable_weights]
    for again, weights in zip(cell.build().trainable_weights, first, strict=True):
        np.testing.assert_array_equal(again.numpy(), weights)
    students = {
        "control": study_arms.control(cell),
        "plain": study_arms.plain(cell),
        "keras": study_arms.keras_distillation(cell, seconds=0.5),
    }
    losses = {name: cross_entropy(student, cell.validation) for name, student in students.items()}
    assert losses["control"] < cross_entropy(cell.build(), cell.validation)
    for student in students.values():
        changed = [each.numpy() for each in student.trainable_weights]
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(changed, first, strict=True))


@pytest.mark.thorough
@pytest.mark.slow
def test_keras_is_given_the_better_of_its_two_ways_to_use_unlabeled_examples(cell, monkeypatch):
    """Of labels alone, or of the teacher's answers as labels; each in half of the seconds."""
    half = len(cell.labeled) // 2
    parts = [
        Arrays({"image": cell.labeled.inputs["image"][part]}, cell.labeled.labels[part])
        for part in (slice(half), slice(half, None))
    ]
    few = Cell(**{**vars(cell), "labeled": parts[0], "unlabeled": parts[1]})
    tried = []
    fit = study_arms._fit_keras

    def watch(*arguments):
        tried.append((arguments[1], arguments[2], fit(*arguments)))
        return tried[-1][2]

    monkeypatch.setattr(study_arms, "_fit_keras", watch)
    chosen = study_arms.keras_distillation(few, seconds=0.2)
    assert [(len(examples), seconds) for examples, seconds, _ in tried] == [
        (half, 0.1),
        (len(cell.labeled), 0.1),
    ]
    answers = study_arms.logits_of(cell.teacher, parts[1]).argmax(-1)
    np.testing.assert_array_equal(tried[1][0].labels[half:], answers)
    losses = [cross_entropy(student, cell.validation) for _, _, student in tried]
    assert chosen is tried[int(np.argmin(losses))][2]


@pytest.mark.thorough
@pytest.mark.slow
def test_a_group_of_cells_is_trained_from_its_data_on():
    from bench import study_worker
    from bench.study_cells import ARMS, Group

    results = []
    group = Group("cancer", "few", 0, ("small",), quick=True)
    study_worker.run_group(group, "digest", results.append)
    (result,) = results
    assert (result["cell"], result["seed"]) == ("cancer/few/small", 0)
    assert result["key"] == group.key("small", "digest")
    assert "error" not in result and set(result["arms"]) == set(ARMS)
    counts = result["examples"]
    assert counts["labeled"] + counts["validation"] == 45
    assert sum(counts.values()) == 569 and counts["unlabeled"] > 300
    for arm in result["arms"].values():
        assert 0 <= arm["accuracy"] <= 1
    control = result["arms"]["control"]["accuracy"]
    for arm in result["arms"].values():
        gain = (arm["better"] - arm["worse"]) / counts["eval"]
        assert gain == pytest.approx(arm["accuracy"] - control)


def test_what_hinders_a_whole_group_is_told_of_each_cell(monkeypatch):
    from bench import study_worker
    from bench.study_cells import Group

    def fail(*arguments):
        raise OSError("no space left on\ndevice")

    monkeypatch.setattr(study_worker, "inspect", fail)
    results = []
    study_worker.run_group(Group("digits", "few", 1, ("small", "large")), "", results.append)
    assert [each["cell"] for each in results] == ["digits/few/small", "digits/few/large"]
    assert {each["error"] for each in results} == {"OSError: no space left on"}
