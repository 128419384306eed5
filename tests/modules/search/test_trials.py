"""Tests of modules.search.space and modules.search.trials: short searches on real digits."""

import logging
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from image_data import image_spec
from keras_tuner.engine.trial import TrialStatus
from modules.search.space import check_tune, choices
from pydantic import ValidationError
from scipy.special import log_softmax
from small_models import class_output, image_input

from modules.data.examples import ExampleData
from modules.distill import trainer_task
from modules.distill.hyperparameters import apply_hyperparameters, describe
from modules.distill.training_config import TrainingConfig
from modules.errors import ConfigError, DataError, ModelError
from modules.models.known import KnownModel
from modules.models.storage import save_model
from modules.models.zoo import build_model
from modules.search import trials
from modules.settings import (
    DataSettings,
    DistillSettings,
    MethodSettings,
    ModelSettings,
    TrainSettings,
    TuneSettings,
)

STUDENT = ModelSettings(
    model="separable_cnn",
    parameters={"filters": [4, 8], "dropout": 0.1},
    train=TrainSettings(epochs=3, learning_rate=0.02, batch_size=50),
)
DATA = DataSettings(validation_fraction=0.3)
SPEC = image_spec()


def distilling(*methods):
    return DistillSettings(methods=[MethodSettings(**method) for method in methods])


TWO_HINTS = distilling(
    {"name": "soft_target", "temperature": 3, "warmup_epochs": 2},
    {"name": "hint", "student_layer": "a", "teacher_layer": "b"},
    {"name": "hint", "student_layer": "c", "teacher_layer": "d", "weight": 7},
)


# -- a trial's values in the settings --


def student_config(distill):
    return TrainingConfig(model=STUDENT, data=DATA, distill=distill)


def test_every_value_finds_its_place_and_the_rest_stays():
    values = {
        "temperature": 2.5,
        "alpha": 0.25,
        "learning_rate": 0.004,
        "method_weights.soft_target": 1.5,
        "parameters.filters": "[12, 24]",
    }
    distill = DistillSettings(views=3)
    config = apply_hyperparameters(values, student_config(distill))
    model, objective = config.model, config.distill
    assert model.parameters == {"filters": [12, 24], "dropout": 0.1}
    assert model.train == STUDENT.train.model_copy(update={"learning_rate": 0.004})
    assert (objective.temperature, objective.alpha, objective.views) == (2.5, 0.25, 3)
    assert objective.methods == (MethodSettings(name="soft_target", weight=1.5),)
    assert STUDENT.parameters["filters"] == [4, 8] and distill == DistillSettings(views=3)


def test_no_values_change_nothing():
    assert apply_hyperparameters({}, student_config(TWO_HINTS)) == student_config(TWO_HINTS)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("hint", [None, 5, 5]),
        ("hint_1", [None, 5, 7]),
        ("hint_2", [None, None, 5]),
        ("soft_target", [5, None, 7]),
    ],
)
def test_weight_of_a_method_that_occurs_twice(name, weights):
    config = apply_hyperparameters({f"method_weights.{name}": 5}, student_config(TWO_HINTS))
    assert [method.weight for method in config.distill.methods] == weights
    for before, after in zip(TWO_HINTS.methods, config.distill.methods, strict=True):
        assert before.model_copy(update={"weight": after.weight}) == after


def test_a_control_gets_the_model_but_no_objective():
    values = {"alpha": 0.3, "method_weights.hint": 2.0, "parameters.dropout": "0.5"}
    config = apply_hyperparameters(values, student_config(None))
    assert config.model.parameters == {"filters": [4, 8], "dropout": 0.5}
    assert config.distill is None


@pytest.mark.parametrize("name", ["momentum", "method_weights.dist", "train.learning_rate"])
def test_an_unknown_hyperparameter_is_refused(name):
    with pytest.raises(ConfigError, match="no such") as caught:
        apply_hyperparameters({name: 1.0}, student_config(DistillSettings()))
    assert name.removeprefix("method_weights.") in str(caught.value)


def test_line_for_a_person():
    values = {"alpha": 0.123456, "parameters.filters": "[8, 16]"}
    assert describe(values) == "alpha 0.1235  parameters.filters [8, 16]"


# -- the space --


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "must search something"),
        ({"temperature": [4, 2]}, r"temperature\n.*low below high, got \[4, 2\]"),
        ({"alpha": [0.5, 0.5]}, r"alpha\n.*low below high"),
        ({"alpha": [0.5, 1.5]}, r"alpha\.1\n.*less than or equal to 1"),
        ({"alpha": [-0.1, 1]}, r"alpha\.0\n.*greater than or equal to 0"),
        ({"temperature": [0, 2]}, r"temperature\.0\n.*greater than 0"),
        ({"learning_rate": [0, 0.1]}, r"learning_rate\.0\n.*greater than 0"),
        ({"method_weights": {"hint": [0, 1]}}, r"hint\.0\n.*greater than 0"),
        ({"alpha": [float("nan"), 1]}, "finite"),
        ({"temperature": [1, float("inf")]}, "finite"),
        ({"temperature": [1, 2, 3]}, "temperature"),
        ({"parameters": {"filters": []}}, "filters: must list different"),
        ({"parameters": {"filters": [[8], [8]]}}, "must list different"),
        ({"alpha": [0, 1], "trials": 0}, "trials"),
        ({"alpha": [0, 1], "epochs": 0}, "epochs"),
    ],
)
def test_space_that_makes_no_sense(space, words):
    with pytest.raises(ValidationError, match=words):
        TuneSettings.model_validate(space)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"parameters": {"filter": [1, 2]}},
            "tune.parameters: separable_cnn takes filters, blocks, dropout",
        ),
        ({"method_weights": {"hnt": [1, 2]}}, "did you mean 'hint'?"),
        ({"method_weights": {"dist": [1, 2]}}, "(soft_target, hint, hint_1, hint_2), got 'dist'"),
        ({"method_weights": {"hint": [1, 2], "hint_2": [1, 2]}}, "hint and hint_2 set the same"),
    ],
)
def test_space_that_does_not_fit_the_student(space, words):
    with pytest.raises(ConfigError) as caught:
        check_tune(TuneSettings.model_validate(space), STUDENT, TWO_HINTS)
    assert words in str(caught.value) and "\n" not in str(caught.value)


HINT = {"name": "hint", "student_layer": "a", "teacher_layer": "b"}
OWN = {"name": "soft_target", "temperature": 3}


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        ([OWN, HINT], "(soft_target has its own, 3, hint has none)"),
        ([HINT], "(hint has none)"),
        ([OWN, OWN], "(soft_target_1 has its own, 3, soft_target_2 has its own, 3)"),
    ],
)
def test_a_temperature_that_no_method_uses(methods, reason):
    with pytest.raises(ConfigError) as caught:
        check_tune(TuneSettings(temperature=(1, 9)), STUDENT, distilling(*methods))
    message = str(caught.value)
    assert message.startswith("tune.temperature searches distill.temperature, which no method")
    assert reason in message and "; remove tune.temperature or " in message
    check_tune(TuneSettings(alpha=(0, 1)), STUDENT, distilling(*methods))


@pytest.mark.parametrize("used", [{"name": "dist"}, {"name": "dist", "final_temperature": 1}])
def test_a_temperature_that_one_method_uses(used):
    check_tune(TuneSettings(temperature=(1, 9)), STUDENT, distilling(OWN, HINT, used))


def test_trials_of_no_epoch():
    student = STUDENT.model_copy(update={"train": TrainSettings(epochs=0)})
    with pytest.raises(ConfigError, match=r"tune\.epochs must be set"):
        check_tune(TuneSettings(alpha=(0, 1)), student, TWO_HINTS)
    check_tune(TuneSettings(alpha=(0, 1), epochs=1), student, TWO_HINTS)


def test_every_choice_of_a_parameter_can_be_built_before():
    tune = TuneSettings(parameters={"filters": [[8], [9]], "dropout": [0.1, 0.2]})
    assert [model.parameters for model in choices(tune, STUDENT)] == [
        {"filters": [8], "dropout": 0.1},
        {"filters": [9], "dropout": 0.1},
        {"filters": [4, 8], "dropout": 0.1},
        {"filters": [4, 8], "dropout": 0.2},
    ]


# -- what is proposed --

SPACE = TuneSettings(
    trials=12,
    temperature=(1, 9),
    alpha=(0.1, 0.4),
    learning_rate=(1e-4, 1e-1),
    method_weights={"soft_target": (0.01, 100)},
    parameters={"filters": ([4, 8], [8, 16]), "dropout": (0.0, 0.5)},
)


def proposals(space, seed, tmp_path, loss=lambda values: values["alpha"]):
    """The values of all trials of a search that trains nothing."""

    class Task:
        def __init__(self):
            self.tried = []

        def try_student(self, values, epochs):
            self.tried.append(dict(values))
            return loss(values)

    task = Task()
    oracle = trials.make_oracle(space, seed)
    directory = tmp_path / f"{seed}_{len(list(tmp_path.iterdir()))}"
    trials.StudentTuner(task, space, oracle, str(directory)).search()
    return task.tried


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_the_seed_decides_the_trials(tmp_path, seed):
    space = SPACE.model_copy(update={"trials": 4})
    first = proposals(space, seed, tmp_path)
    assert len(first) == 4
    assert proposals(space, seed, tmp_path) == first
    assert proposals(space, (seed + 1) % 2**32, tmp_path) != first


def test_proposals_lie_within_the_space_and_weights_on_a_logarithmic_scale(tmp_path):
    space = SPACE.model_copy(update={"trials": 40})
    oracle = trials.make_oracle(space, 3)
    tried = [oracle._random_values() for _ in range(400)]
    for name, (low, high) in space.intervals.items():
        values = np.array([values[name] for values in tried])
        assert low <= values.min() and values.max() <= high
        # Half of them lie below the middle of the scale.
        logarithmic = name in ("learning_rate", "method_weights.soft_target")
        middle = np.sqrt(low * high) if logarithmic else (low + high) / 2
        assert 0.4 < (values < middle).mean() < 0.6, name
    assert {values["parameters.filters"] for values in tried} == {"[4, 8]", "[8, 16]"}
    assert {values["parameters.dropout"] for values in tried} == {"0.0", "0.5"}


@pytest.mark.thorough
def test_the_search_learns_from_its_trials(tmp_path):
    """After its first random ones it looks where it was good."""
    space = TuneSettings(trials=12, alpha=(0, 1))
    tried = proposals(space, 1, tmp_path, lambda values: (values["alpha"] - 0.7) ** 2)
    assert np.median([abs(values["alpha"] - 0.7) for values in tried[6:]]) < 0.1


def test_nothing_is_tried_twice_and_a_small_space_ends_the_search(tmp_path):
    space = TuneSettings(trials=30, parameters={"dropout": (0.0, 0.1, 0.2), "filters": ([4], [8])})
    tried = proposals(space, 5, tmp_path, lambda values: float(values["parameters.dropout"]))
    assert len(tried) == len({tuple(sorted(values.items())) for values in tried})
    assert 4 <= len(tried) <= 6


# -- a search --


@pytest.fixture
def fn_args(transformed_digits, tmp_path):
    """As TFX hands it to `tuner_fn`: less is set than for a Trainer."""
    keras.utils.set_random_seed(1)
    teacher = ModelSettings(model="separable_cnn", parameters={"filters": [8]})
    save_model(
        build_model(teacher, image_input(), class_output()),
        teacher,
        image_input(),
        class_output(),
        str(tmp_path / "teacher" / "Format-Keras"),
    )
    space = TuneSettings(
        trials=2, epochs=4, alpha=(0.1, 0.9), parameters={"filters": ([4, 8], [8, 8])}
    )
    return SimpleNamespace(
        train_files=[transformed_digits.pattern],
        transform_graph_path=transformed_digits.graph_dir,
        working_dir=str(tmp_path / "work"),
        model_run_dir=None,
        hyperparameters=None,
        custom_config=TrainingConfig(
            model=STUDENT,
            data=DATA,
            distill=DistillSettings(soft_targets="online"),
            tune=space,
            seed=3,
            checkpoint_seconds=0,
            teacher_weights=(1.0,),
            teacher_dirs=(str(tmp_path / "teacher" / "Format-Serving"),),
            teacher_models=(
                KnownModel.of(ModelSettings(model="separable_cnn", parameters={"filters": [8]})),
            ),
        ),
    )


@pytest.fixture
def trained(monkeypatch):
    """Every training that happens: its distiller and its plan."""
    seen = []
    fit = trainer_task.training.fit

    def watch(distiller, data, plan):
        fit(distiller, data, plan)
        seen.append((distiller, plan))

    monkeypatch.setattr(trainer_task.training, "fit", watch)
    return seen


def search(fn_args):
    made = trials.tuner_fn(fn_args)
    made.tuner.search(**made.fit_kwargs)
    return made.tuner


@pytest.mark.thorough
def test_objective_is_the_lowest_cross_entropy_of_what_is_held_out(fn_args, trained, caplog):
    caplog.set_level(logging.INFO, "tfx_distill")
    found = search(fn_args)
    trials = [found.oracle.trials[str(index)] for index in range(2)]
    assert len(trained) == 2
    for trial, (distiller, plan) in zip(trials, trained, strict=True):
        losses = distiller.history.history["val_hard_loss"]
        assert len(losses) == plan.settings.epochs == 4
        assert trial.score == pytest.approx(min(losses), abs=1e-12)
        assert trial.hyperparameters.values["alpha"] == pytest.approx(distiller._alpha)
        width = distiller.student.get_layer("block2").output.shape[-1]
        assert trial.hyperparameters.values["parameters.filters"].endswith(f"{width}]")
        # The weights that are kept, judged by another formula.
        ((inputs, y),) = ExampleData(fn_args.train_files, SPEC, DATA).validation(1000)
        logits = distiller.student.predict_on_batch(inputs).astype(np.float64)
        likelihood = log_softmax(logits, axis=1)[np.arange(len(logits)), y["label"].numpy()]
        assert trial.score == pytest.approx(-likelihood.mean(), rel=1e-4)
    assert not np.isclose(trials[0].score, trials[1].score)
    best = min(trials, key=lambda trial: trial.score)
    assert found.get_best_hyperparameters()[0].values == best.hyperparameters.values
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert lines == [
        *(
            f"trial {index + 1}/2  {describe(trial.hyperparameters.values)}"
            f"  val_hard_loss {trial.score:.4f}"
            for index, trial in enumerate(trials)
        ),
        f"best trial: {int(best.trial_id) + 1} (val_hard_loss {best.score:.4f})",
    ]


@pytest.mark.thorough
@pytest.mark.slow
def test_the_same_search_again_finds_the_same_and_writes_in_its_directory_only(
    fn_args, trained, tmp_path
):
    before = set(tmp_path.rglob("*"))
    first = search(fn_args)
    working_dir = Path(fn_args.working_dir)
    assert all(path.is_relative_to(working_dir) for path in set(tmp_path.rglob("*")) - before)
    assert {path.suffix for path in working_dir.rglob("*") if path.is_file()} == {".json"}
    fn_args.working_dir = str(tmp_path / "again")
    second = search(fn_args)
    results = [
        [(trial.score, trial.hyperparameters.values) for trial in found.oracle.trials.values()]
        for found in (first, second)
    ]
    assert results[0] == results[1]


def failing(monkeypatch, errors):
    """Trainings that fail with these errors, one after another; None succeeds."""
    remaining = iter(errors)

    def try_student(self, values, epochs):
        error = next(remaining)
        if error is not None:
            raise error
        return 1.0

    monkeypatch.setattr(trainer_task.TrainerTask, "try_student", try_student)


def test_a_trial_that_goes_astray_does_not_end_the_search(fn_args, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tfx_distill.tuner")
    failing(monkeypatch, [ModelError("val_loss is nan"), None])
    found = search(fn_args)
    statuses = [trial.status for trial in found.oracle.trials.values()]
    assert statuses == [TrialStatus.FAILED, TrialStatus.COMPLETED]
    assert "failed: val_loss is nan" in caplog.text


def test_all_trials_failed(fn_args, monkeypatch):
    failing(monkeypatch, [ModelError("val_loss is nan")] * 2)
    with pytest.raises(ModelError, match="no trial could be trained"):
        search(fn_args)


@pytest.mark.parametrize("error", [DataError("the data are damaged"), ZeroDivisionError("1/0")])
def test_what_hinders_every_trial_ends_the_search_at_once(fn_args, monkeypatch, error):
    failing(monkeypatch, [error])
    with pytest.raises(type(error)) as caught:
        search(fn_args)
    assert caught.value is error
