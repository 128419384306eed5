"""Tests of modules.search.student_search: short searches on real digits."""

import json
import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax
from small_models import class_output, image_input

from modules.data.examples import ExampleData
from modules.distill import trainer_task
from modules.distill.held_out import HeldOutAnswers
from modules.distill.hyperparameters import apply_hyperparameters, as_configured, describe
from modules.distill.recipe import learning_rate
from modules.distill.training_config import TrainingConfig
from modules.errors import ConfigError, DataError, ModelError
from modules.models.known import KnownModel
from modules.models.storage import save_model
from modules.models.zoo import build_model
from modules.search import student_search, untrained
from modules.search.candidates import Candidate
from modules.search.student_search import tuner_fn
from modules.search.untrained import Untrained
from modules.settings import (
    AugmentSettings,
    DataSettings,
    DistillSettings,
    GateSettings,
    LatencySettings,
    MethodSettings,
    ModelSettings,
    SearchBudget,
    SearchPlan,
    TrainSettings,
)

STUDENT = ModelSettings(
    model="separable_cnn",
    parameters={"filters": [4, 8]},
    train=TrainSettings(epochs=3, learning_rate=0.02, batch_size=50),
)
TEACHER = ModelSettings(model="separable_cnn", parameters={"filters": [8]})
DATA = DataSettings(validation_fraction=0.3)


def wide(*filters):
    return STUDENT.model_copy(update={"parameters": {"filters": list(filters)}})


# -- values in the settings --


def test_every_value_finds_its_place_and_the_rest_stays():
    objective = DistillSettings(alpha=0.25, temperature=2.5, methods=[{"name": "dist"}])
    values = Candidate(wide(12, 24), objective).values
    config = TrainingConfig(
        model=STUDENT, data=DATA, distill=DistillSettings(views=3, alpha="auto")
    )
    found = apply_hyperparameters(values, config)
    assert found.model == wide(12, 24)
    assert found.distill == objective.model_copy(update={"views": 3})
    assert config.model == STUDENT


def test_a_control_gets_the_model_but_no_objective():
    values = Candidate(wide(12, 24), DistillSettings()).values
    found = apply_hyperparameters(values, TrainingConfig(model=STUDENT, data=DATA))
    assert (found.model, found.distill) == (wide(12, 24), None)


def test_a_value_of_an_unknown_name_is_refused():
    config = TrainingConfig(model=STUDENT, data=DATA)
    with pytest.raises(ConfigError, match="must be among student, alpha, temperature, methods"):
        apply_hyperparameters({"learning_rate": 1.0}, config)


def test_what_was_found_is_told_by_its_keys_and_in_one_line():
    values = Candidate(wide(8, 16), DistillSettings(methods=[MethodSettings(name="dist")])).values
    assert describe(values) == "separable_cnn filters [8, 16], alpha 0.1, temperature 4, dist"
    assert as_configured(values) == {
        "student.model": "separable_cnn",
        "student.parameters.filters": [8, 16],
        "student.train.learning_rate": 0.02,
        "distill.alpha": 0.1,
        "distill.temperature": 4.0,
        "distill.methods": ["dist"],
    }
    assert describe(values | {"alpha": 1}).endswith("[8, 16], the labels alone")


# -- a search --


@pytest.fixture
def fn_args(transformed_digits, tmp_path):
    """As TFX hands it to `tuner_fn`, for the plan and objective that `search` adds."""
    keras.utils.set_random_seed(1)
    made = build_model(TEACHER, image_input(), class_output())
    directory = str(tmp_path / "teacher" / "Format-Keras")
    save_model(made, TEACHER, image_input(), class_output(), directory)
    config = TrainingConfig(
        model=STUDENT,
        data=DATA,
        seed=3,
        teacher_weights=(1.0,),
        teacher_dirs=(str(tmp_path / "teacher" / "Format-Serving"),),
        teacher_models=(KnownModel.of(TEACHER),),
        output_dir=str(tmp_path / "Search" / "best_hyperparameters" / "1"),
    )
    return SimpleNamespace(
        train_files=[transformed_digits.pattern],
        transform_graph_path=transformed_digits.graph_dir,
        working_dir=str(tmp_path / "work"),
        model_run_dir=None,
        hyperparameters=None,
        custom_config=config,
    )


@pytest.fixture
def trained(monkeypatch):
    """The epochs and the alpha of every training that happens."""
    seen = []
    fit = trainer_task.training.fit

    def watch(distiller, data, plan):
        fit(distiller, data, plan)
        seen.append((distiller, plan.settings.epochs))

    monkeypatch.setattr(trainer_task.training, "fit", watch)
    return seen


def search(fn_args, *students, distill=None, gate=None, **plan):
    plan = SearchPlan(
        students=students or (STUDENT,),
        limits=GateSettings(**(gate or {})),
        variants=("float32",),
        needed=("float32",),
        latency=LatencySettings(processes=3, blocks=2, queries_per_block=10),
        **plan,
    )
    distill = DistillSettings(soft_targets="online", **(distill or {"alpha": "auto"}))
    config = fn_args.custom_config.model_copy(update={"search": plan, "distill": distill})
    fn_args = SimpleNamespace(**{**vars(fn_args), "custom_config": config})
    tuner = tuner_fn(fn_args).tuner
    tuner.search()
    return tuner


def states(found):
    return [each.state for each in found.results().students]


def test_all_objectives_of_a_student_are_compared_on_what_is_held_out(fn_args, trained, caplog):
    caplog.set_level(logging.INFO, "tfx_distill.search")
    found = search(fn_args)
    results = found.results()
    assert [each.name.partition("], ")[2] for each in results.students] == [
        "alpha 0.1, temperature 4, soft_target",
        "the labels alone",
        "alpha 0, temperature 4, soft_target",
        "alpha 0.5, temperature 4, soft_target",
    ]
    assert sorted(states(found)) == ["chosen", "compared", "compared", "compared"]
    assert [epochs for _, epochs in trained] == [1, 1, 1, 1]
    # The last one is still there: its loss by another formula.
    spec = found._task.spec
    ((inputs, y),) = ExampleData(fn_args.train_files, spec, DATA).validation(1000)
    logits = trained[-1][0].student.predict_on_batch(inputs).astype(np.float64)
    likelihood = log_softmax(logits, axis=1)[np.arange(len(logits)), y["label"].numpy()]
    last = results.students[-1]
    assert last.loss == pytest.approx(-likelihood.mean(), rel=1e-4)
    assert last.score == pytest.approx(np.mean(logits.argmax(axis=1) == y["label"].numpy()))
    assert results.examples == len(logits) and 0 <= results.teacher <= 1
    (best,) = found.get_best_hyperparameters()
    assert f"chosen: {describe(best.values)}" in caplog.text
    assert describe(best.values) == results.chosen.name


def test_few_validation_examples_choose_no_objective(fn_args, trained, monkeypatch, caplog):
    """One more than there are is asked for."""
    held_out = sum(len(y["label"]) for _, y in trainer_task.TrainerTask(fn_args).held_out())
    monkeypatch.setattr(trainer_task.training, "FEWEST_VALIDATION", held_out + 1)
    caplog.set_level(logging.INFO, "tfx_distill.search")
    found = search(fn_args)
    assert not trained and states(found) == ["chosen", "untried", "untried", "untried"]
    results = found.results()
    assert results.examples == 0 and "validation examples" in results.students[1].reason
    assert results.chosen.name.endswith("alpha 0.1, temperature 4, soft_target")
    assert "the default objective is kept" in caplog.text


def test_what_breaks_a_limit_is_never_trained(fn_args, trained):
    found = search(
        fn_args,
        wide(4, 8),
        wide(64, 128),
        wide(8, 8),
        distill={"alpha": 0.1},
        gate={"max_size_bytes": 12_000},
        objective="smallest",
    )
    small, large, other = found.results().students
    assert (large.state, large.epochs, large.loss) == ("refused", 0, None)
    assert large.reason.startswith("gate.max_size_bytes 12,000: its float32 file has ")
    assert large.sizes["float32"] > 12_000 > small.sizes["float32"] > 0
    assert min(small.latencies["float32"], large.latencies["float32"]) > 0
    assert len(trained) == 2 and {small.state, other.state} == {"chosen", "compared"}


def weighed(monkeypatch, **known):
    """Students of known sizes, as if they had been converted."""

    def examine(plan, *_):
        return [
            Untrained(100, {"float32": 2000 + at}, {}, {}, **known)
            for at, _ in enumerate(plan.students)
        ]

    monkeypatch.setattr(untrained, "examine", examine)


@pytest.mark.parametrize(
    ("limits", "pushed", "reason"),
    [
        ({"max_size_bytes": 1_500}, (), ""),
        ({"max_size_bytes": 1_500}, ("float32",), "its float32 file has 2,000 bytes"),
        ({"max_size_bytes": 500}, (), "its int8 file has 1,000 bytes"),
        ({"min_speedup": 3.5}, (), ""),
        ({"min_speedup": 4.5}, (), "its int8 file is 4.00 times faster at best"),
        ({"limits": [{"number": "variants.*.size_bytes", "max": 1_500}]}, (), ""),
        (
            {"limits": [{"number": "variants.*.latency.p50_ms", "max": 0.5}]},
            (),
            "variants.int8.latency.p50_ms is 0.9 at least, above 0.5",
        ),
        ({"limits": [{"number": "variants.*.latency.p50_ms", "max": 0.95}]}, (), ""),
        ({"limits": [{"number": "student.parameters", "max": 99}]}, (), "student.parameters is"),
        ({"limits": [{"number": "student.accuracy", "max": 0.1}]}, (), ""),
    ],
)
def test_a_limit_counts_for_what_ships(limits, pushed, reason):
    def timed(middle):
        return {"p50_ms": middle, "intervals": {"p50_ms": (0.9 * middle, 1.1 * middle)}}

    known = Untrained(
        100,
        {"float32": 2_000, "int8": 1_000},
        {"float32": timed(2.0), "int8": timed(1.0)},
        {"float32": {"ci_high": 2.0}, "int8": {"ci_high": 4.0}},
    )
    plan = SearchPlan(
        students=(STUDENT,),
        limits=GateSettings(**limits),
        variants=("float32", "int8"),
        pushed=pushed,
    )
    broken = untrained._judged(known, plan, "").broken
    assert reason in broken if reason else broken == ""


@pytest.mark.parametrize(
    ("gate", "lower", "expected"),
    [
        ({"min_accuracy": 0.7, "max_accuracy_drop": 0.1}, False, 0.8),
        ({"min_accuracy": 0.85, "max_accuracy_drop": 0.1}, False, 0.85),
        ({"max_rmse": 5, "max_rmse_increase": 0.5}, True, 1.35),
        ({"min_speedup": 2}, False, None),
    ],
)
def test_what_the_gate_asks_of_a_score(gate, lower, expected):
    found = student_search._limit(GateSettings(**gate), 0.9, lower)
    assert found == (None if expected is None else pytest.approx(expected))


def test_all_students_break_a_limit(fn_args, trained, monkeypatch):
    weighed(monkeypatch, broken="gate.max_size_bytes 100: its smallest file has 2,000 bytes")
    with pytest.raises(ModelError) as caught:
        search(fn_args, wide(4, 8), wide(8, 8), gate={"max_size_bytes": 100})
    assert str(caught.value).startswith("search.students: all 2 break a limit (gate.max_size_bytes")
    assert trained == []


def test_the_smallest_that_keeps_the_gates_accuracy_wins(fn_args, monkeypatch):
    weighed(monkeypatch)
    accuracies = {(4, 8): 0.6, (8, 8): 0.8, (8, 16): 0.9}
    answer(monkeypatch, lambda student, _: accuracies[tuple(student.parameters["filters"])])
    students = [wide(*filters) for filters in accuracies]
    found = search(
        fn_args, *students, distill={"alpha": 0.1}, gate={"min_accuracy": 0.7}, objective="smallest"
    )
    assert found.results().chosen.name.startswith("separable_cnn filters [8, 8]")
    found = search(
        fn_args,
        *students,
        distill={"alpha": 0.1},
        gate={"min_accuracy": 0.7},
        objective="most_accurate",
    )
    assert found.results().chosen.name.startswith("separable_cnn filters [8, 16]")


def test_a_student_that_was_not_needed_does_not_blame_the_few_examples(fn_args, monkeypatch):
    weighed(monkeypatch)
    answer(monkeypatch, lambda student, _: 0.9)
    monkeypatch.setattr(trainer_task.training, "FEWEST_VALIDATION", 1_000)
    students, gate = [wide(4), wide(8), wide(16)], {"min_accuracy": 0.7}
    found = search(fn_args, *students, gate=gate, objective="smallest")
    described = [(each.state, each.reason) for each in found.results().students[:3]]
    assert described == [("chosen", ""), ("compared", ""), ("untried", "")]


@pytest.mark.parametrize("widest_drops_out", [True, False])
def test_the_front_is_halved_and_the_cheapest_that_keeps_the_limit_wins(
    widest_drops_out, fn_args, monkeypatch
):
    """Of 50 examples, accuracies of 0.84 and 0.86 have standard errors of 0.052 and 0.049."""
    weighed(monkeypatch)
    accuracies = {(2 * at + 2, 4): 0.74 + 0.02 * at for at in range(10)}
    train = STUDENT.train.model_copy(update={"epochs": 12})
    tried = []

    def accuracy(student, _):
        tried.append(tuple(student.parameters["filters"]))
        return accuracies[tried[-1]]

    answer(monkeypatch, accuracy)
    students = [wide(*each).model_copy(update={"train": train}) for each in accuracies]
    if widest_drops_out:
        students[-1].parameters["dropout"] = 0.1
    found = search(
        fn_args,
        *students,
        distill={"alpha": 0.1},
        gate={"min_accuracy": 0.8},
        objective="smallest",
    )
    assert found.results().chosen.name.startswith("separable_cnn filters [14, 4]")
    # Where they differ in width alone, more cost is better, which need not be tried out.
    first = list(accuracies) if widest_drops_out else []
    assert tried == [*first, (12, 4), (18, 4), (16, 4), (14, 4)]


def test_the_labels_alone_win_where_they_are_clearly_better(fn_args, monkeypatch):
    answer(monkeypatch, lambda _, distill: 0.9 if distill.alpha == 1 else 0.5)
    assert search(fn_args).results().chosen.labels_alone


@pytest.mark.parametrize(("teacher", "alone"), [(0.92, False), (0.9, False), (0.88, True)])
def test_where_the_labels_alone_are_as_good_the_teacher_itself_decides(
    fn_args, monkeypatch, teacher, alone
):
    answer(monkeypatch, lambda *_: 0.9, teacher=teacher)
    assert search(fn_args).results().chosen.labels_alone == alone


@pytest.mark.parametrize(
    ("teacher", "lower_is_better", "beaten"),
    [
        (0.8, False, True),
        (1.0, False, False),
        (0.8, True, False),
        (1.0, True, True),
        (None, True, False),
    ],
)
def test_a_teacher_is_beaten_by_a_lower_error_or_a_higher_accuracy(
    teacher, lower_is_better, beaten
):
    assert student_search._is_beaten(teacher, 0.9, lower_is_better) == beaten


@pytest.mark.slow
def test_the_labels_alone_are_trained_as_a_control_is(fn_args):
    """From the same first weights, to the same weights as TeacherTrainer's own way."""
    task = trainer_task.TrainerTask(
        SimpleNamespace(
            **{
                **vars(fn_args),
                "custom_config": fn_args.custom_config.model_copy(
                    update={"distill": DistillSettings(alpha=1, soft_targets="online")}
                ),
                "model_run_dir": str(fn_args.working_dir) + "/a/b/run",
            }
        )
    )
    answers = task.try_student(STUDENT, DistillSettings(alpha=1), STUDENT.train.epochs)
    weights = task.distill().model.get_weights()
    control = task.train().model.get_weights()
    for one, other in zip(weights, control, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(answers.losses) > 0


def test_the_labels_alone_are_not_bound_to_the_views_with_answers(fn_args, monkeypatch):
    """Few images in few views are learned by heart; the teacher has not answered more of them."""
    shown = []
    monkeypatch.setattr(
        trainer_task.training,
        "fit",
        lambda distiller, data, plan: shown.append(plan.view and plan.view.count),
    )
    alone, taught = DistillSettings(alpha=1, soft_targets="online"), DistillSettings()
    update = {"augment": AugmentSettings(pad_crop=1), "views": 3, "distill": taught}
    config = fn_args.custom_config.model_copy(update=update)
    more = {"custom_config": config, "model_run_dir": f"{fn_args.working_dir}/a/b/run"}
    task = trainer_task.TrainerTask(SimpleNamespace(**{**vars(fn_args), **more}))
    task.train()
    task.try_student(STUDENT, alone, 1)
    task.distill()
    task.try_student(STUDENT, taught, 1)
    assert shown == [0, 0, 3, 3]


@pytest.mark.parametrize("alone", [True, False], ids=["labels alone", "taught"])
def test_longer_trainings_of_a_candidate_share_what_is_compiled(fn_args, monkeypatch, alone):
    """Each with its whole schedule: the rate falls over its own epochs."""
    seen = []
    monkeypatch.setattr(
        trainer_task.training,
        "fit",
        lambda distiller, data, plan: seen.append((distiller, distiller.optimizer.learning_rate)),
    )
    objective = DistillSettings(alpha=1, soft_targets="online") if alone else DistillSettings()
    train = STUDENT.train.model_copy(update={"schedule": "cosine"})
    student = STUDENT.model_copy(update={"train": train})
    task = trainer_task.TrainerTask(fn_args)
    for epochs in (1, 3):
        task.try_student(student, objective, epochs)
    (first, short), (second, long) = seen
    assert first is second
    batches = task._data(None).training_count() / train.batch_size
    for epochs, rate in ((1, short), (3, long)):
        expected = learning_rate(
            train.model_copy(update={"epochs": epochs}), 0.5 / np.ceil(batches)
        )
        assert float(rate) == pytest.approx(expected, rel=1e-5)
    assert float(short) < float(long)


def answer(monkeypatch, accuracy, weights=None, teacher=1.0):
    """Trainings that end at once, with a given share of right answers, the first examples'."""

    def answers(share):
        count = 50
        right = np.arange(count) < round(count * share)
        outputs = np.zeros((count, 10), np.float32)
        outputs[:, 1] = np.where(right, 3.0, -3.0)
        losses = np.where(right, 0.1, 3.0)
        return HeldOutAnswers(np.ones(count, np.int64), outputs, losses, weights)

    def try_student(self, student, objective, epochs, objectives=()):
        return answers(accuracy(student, objective))

    monkeypatch.setattr(trainer_task.TrainerTask, "try_student", try_student)
    monkeypatch.setattr(trainer_task.TrainerTask, "teacher_answers", lambda self: answers(teacher))


def test_examples_count_by_their_weight(fn_args, monkeypatch):
    weights = np.where(np.arange(50) < 25, 1.0, 9.0)
    answer(monkeypatch, lambda _, distill: 0.5 if distill.alpha == 0.1 else 0.6, weights)
    first, second, *_ = search(fn_args).results().students
    # Right are the first 25 and 30 examples: of a weight of 250, 25 and 70.
    assert (first.score, second.score) == pytest.approx((0.1, 0.28))
    assert first.loss == pytest.approx(0.1 * 0.1 + 0.9 * 3.0)
    assert second.loss == pytest.approx(0.28 * 0.1 + 0.72 * 3.0)


def test_a_killed_search_goes_on_where_it_was(fn_args, monkeypatch):
    tried = []
    answer(monkeypatch, lambda _, distill: 0.5)
    instant = trainer_task.TrainerTask.try_student

    def dies_at(number):
        def try_student(self, student, objective, *more):
            if len(tried) == number:
                raise KeyboardInterrupt
            tried.append(objective.alpha)
            return instant(self, student, objective, *more)

        monkeypatch.setattr(trainer_task.TrainerTask, "try_student", try_student)

    dies_at(2)
    with pytest.raises(KeyboardInterrupt):
        search(fn_args)
    dies_at(-1)
    found = search(fn_args)
    assert tried == [0.1, 1.0, 0.0, 0.5]
    assert sorted(states(found)) == ["chosen", "compared", "compared", "compared"]
    # Another data set, code or configuration is another search.
    search(fn_args, distill={"alpha": "auto", "temperature": 2})
    assert len(tried) == 8


def test_a_damaged_note_is_as_good_as_none(fn_args, monkeypatch, tmp_path):
    answer(monkeypatch, lambda _, distill: 0.5)
    search(fn_args)
    notes = list((tmp_path / "Search").rglob("trial_*.npz"))
    assert len(notes) == 4
    notes[0].write_bytes(b"PK")
    assert states(search(fn_args)).count("chosen") == 1


def test_when_the_minutes_are_over_the_rest_is_not_tried(fn_args, monkeypatch):
    answer(monkeypatch, lambda _, distill: 0.5)
    instant = trainer_task.TrainerTask.try_student
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr("modules.search.student_search.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(trainer_task.TrainerTask, "try_student", instant)
    found = search(fn_args, budget=SearchBudget(minutes=2))
    assert states(found) == ["chosen", "compared", "untried", "untried"]


def test_when_the_minutes_are_over_the_student_that_was_found_counts(fn_args, monkeypatch):
    weighed(monkeypatch)
    answer(monkeypatch, lambda *_: 0.5)
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr("modules.search.student_search.time.monotonic", lambda: next(clock))
    students = [wide(filters) for filters in (4, 5)]
    found = search(fn_args, *students, budget=SearchBudget(minutes=2))
    assert states(found)[0] == "chosen" and "untried" in states(found)


def test_trials_count_what_keeps_the_limits_and_the_labels_alone_are_tried(fn_args, monkeypatch):
    monkeypatch.setattr(
        untrained,
        "examine",
        lambda plan, *_: [
            Untrained(100, {"float32": 1}, {}, {}, broken="too large" if at < 2 else "")
            for at in range(len(plan.students))
        ],
    )
    answer(monkeypatch, lambda *_: 0.5)
    students = [wide(filters) for filters in (4, 5, 6, 7, 8)]
    found = search(fn_args, *students, budget=SearchBudget(trials=2), objective="smallest")
    *listed, alone = found.results().students
    assert [each.state for each in listed[:2]] == ["refused", "refused"]
    assert listed[4].state == "untried" and "untried" not in [each.state for each in listed[2:4]]
    assert alone.labels_alone and alone.epochs > 0


def test_the_distiller_builds_what_a_search_may_choose_and_nothing_else(fn_args):
    known = KnownModel.of(STUDENT, [wide(8, 16)])
    config = fn_args.custom_config.model_copy(update={"student": known})
    for student, problem in ((wide(8, 16), None), (wide(9), "parameters.filters must be as")):
        fn_args.custom_config = config
        fn_args.hyperparameters = {"values": Candidate(student, DistillSettings()).values}
        if problem is None:
            assert trainer_task.TrainerTask(fn_args).config.model == student
        else:
            with pytest.raises(ModelError, match=problem):
                trainer_task.TrainerTask(fn_args)


def failing(monkeypatch, *errors):
    """Trainings that fail with these errors, one after another; None succeeds."""
    answer(monkeypatch, lambda *_: 0.5)
    instant, remaining = trainer_task.TrainerTask.try_student, iter(errors)

    def try_student(self, *given):
        if (error := next(remaining)) is not None:
            raise error
        return instant(self, *given)

    monkeypatch.setattr(trainer_task.TrainerTask, "try_student", try_student)


def test_a_candidate_that_goes_astray_does_not_end_the_search(fn_args, monkeypatch):
    failing(monkeypatch, ModelError("val_loss is nan"), None, None, None)
    found = search(fn_args)
    first, *others = found.results().students
    assert (first.state, first.reason) == ("failed", "val_loss is nan")
    assert sorted(each.state for each in others) == ["chosen", "compared", "compared"]


def test_all_candidates_failed(fn_args, monkeypatch):
    failing(monkeypatch, *[ModelError("val_loss is nan")] * 4)
    with pytest.raises(ModelError, match=r"no candidate could be trained \(val_loss is nan\)"):
        search(fn_args)


@pytest.mark.parametrize("error", [DataError("the data are damaged"), ZeroDivisionError("1/0")])
def test_what_hinders_every_candidate_ends_the_search_at_once(fn_args, monkeypatch, error):
    failing(monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        search(fn_args)
    assert caught.value is error


def test_results_survive_their_file(fn_args, monkeypatch):
    answer(monkeypatch, lambda _, distill: 0.5)
    results = search(fn_args).results()
    assert type(results).model_validate(json.loads(results.model_dump_json())) == results
