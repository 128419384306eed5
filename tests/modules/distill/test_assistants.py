"""Assistants between teacher and student: who teaches whom, and what an interrupted run keeps."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from image_data import image_spec
from small_models import class_output, image_input

from modules.data.examples import ExampleData
from modules.distill import trainer_task
from modules.distill.training_config import TrainingConfig
from modules.models.zoo import build_model
from modules.settings import (
    AugmentSettings,
    DataSettings,
    DistillSettings,
    ModelSettings,
    TrainSettings,
)
from modules.teachers import soft_targets

DATA = DataSettings(validation_fraction=0.3)


def model_of(filters, epochs, **train):
    return ModelSettings(
        model="separable_cnn",
        parameters={"filters": filters},
        train=TrainSettings(epochs=epochs, patience=epochs, learning_rate=0.02, **train),
    )


STUDENT = model_of([4], 2)
LARGE, MIDDLE = model_of([12], 3), model_of([8], 1, batch_size=50, mixed_precision=True)


@pytest.fixture
def fn_args(transformed_digits, tmp_path):
    """Of a Distiller with cached soft targets; each call is another execution."""
    examples = ExampleData([transformed_digits.pattern], image_spec(), DATA)
    teacher = build_model(model_of([16], 1), image_input(), class_output())
    answers = str(tmp_path / "soft_targets")
    soft_targets.compute(
        [teacher], examples, soft_targets.Request(0, AugmentSettings(), 0), answers
    )

    def make(execution, **distill):
        return SimpleNamespace(
            train_files=[transformed_digits.pattern],
            transform_graph_path=transformed_digits.graph_dir,
            model_run_dir=str(tmp_path / "Distiller" / "model_run" / str(execution)),
            hyperparameters=None,
            custom_config=TrainingConfig(
                model=STUDENT,
                data=DATA,
                distill=DistillSettings(**distill),
                checkpoint_seconds=0,
                teacher_weights=(1.0,),
                soft_targets_dir=answers,
            ),
        )

    return make


@pytest.fixture
def trained(monkeypatch):
    """Every training that happens: its distiller, its data and its plan."""
    seen = []
    fit = trainer_task.training.fit

    def watch(distiller, data, plan):
        seen.append((distiller, data, plan))
        fit(distiller, data, plan)

    monkeypatch.setattr(trainer_task.training, "fit", watch)
    return seen


def first_batch(data):
    return next(iter(data.validation(8)))


def test_each_model_teaches_the_next_and_the_cache_only_the_first(fn_args, trained):
    done = trainer_task.TrainerTask(fn_args(1, assistants=[LARGE, MIDDLE], generations=2)).distill()
    distillers, data, plans = zip(*trained, strict=True)
    assert [each.settings for each in plans] == [
        LARGE.train,
        MIDDLE.train,
        STUDENT.train,
        STUDENT.train,
    ]
    names = [Path(each.log_dir).name for each in plans]
    assert names == ["assistant_1", "assistant_2", "generation_1", "generation_2"]
    assert [Path(each.state_dir).name for each in plans] == names
    assert len({Path(each.state_dir).parent for each in plans}) == 1

    filters = [distiller.student.layers[-1].input.shape[-1] for distiller in distillers]
    assert filters == [12, 8, 4, 4]
    cached = ["teacher_logits" in first_batch(each)[1] for each in data]
    assert cached == [True, False, False, False]
    # What a distiller's loss is compared with is what the model before it answers.
    inputs, _ = first_batch(data[1])
    for before, after in itertools.pairwise(distillers):
        asked, _ = after._teachers.answer(inputs, None, [])
        told = keras.ops.convert_to_numpy(before.student(inputs, training=False))
        np.testing.assert_allclose(keras.ops.convert_to_numpy(asked)[:, 0], told, atol=1e-5)
    assert done.settings == STUDENT
    assert done.model.count_params() == distillers[-1].student.count_params()


def test_an_assistant_that_was_trained_is_not_trained_again(fn_args, trained, monkeypatch):
    fit = trainer_task.training.fit

    def killed(distiller, data, plan):
        if plan.state_dir.endswith("generation_1"):
            raise KeyboardInterrupt
        fit(distiller, data, plan)

    with monkeypatch.context() as patched:
        patched.setattr(trainer_task.training, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer_task.TrainerTask(fn_args(1, assistants=[LARGE])).distill()
    (before,) = [distiller.student for distiller, _, _ in trained]

    trainer_task.TrainerTask(fn_args(2, assistants=[LARGE])).distill()
    _, (again, _, _), (student, _, _) = trained
    assert not hasattr(again, "history") or not again.history.epoch
    for mine, saved in zip(again.student.weights, before.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), saved.numpy())
    assert student.history.epoch == [0, 1]
