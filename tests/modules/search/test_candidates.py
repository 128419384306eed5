"""Tests of modules.search.candidates: what is tried, and the sentence that each mistake gets."""

import json

import pytest

from modules.errors import ConfigError
from modules.search.candidates import (
    Candidate,
    check_search,
    differ_in_width,
    make_plan,
    objectives,
)
from modules.settings import (
    AugmentSettings,
    DistillSettings,
    ExportSettings,
    GateSettings,
    LatencySettings,
    ModelSettings,
    SearchSettings,
    StudentChoice,
    TrainSettings,
)

STUDENT = ModelSettings(
    model="separable_cnn",
    parameters={"filters": [16, 32], "dropout": 0.1},
    train=TrainSettings(epochs=3, learning_rate=0.02),
)
GATE = GateSettings(min_accuracy=0.5, max_size_bytes=1000, min_distillation_gain=0.1)


def plan_of(search, student=STUDENT):
    return make_plan(search, student, GATE, ExportSettings(), (), LatencySettings())


def parameters_of(search, student=STUDENT):
    return [each.parameters for each in plan_of(search, student).students]


# -- students --


def test_auto_scales_the_widths_and_nothing_else_the_configured_student_first():
    assert parameters_of(SearchSettings(students="auto")) == [
        {"filters": filters, "dropout": 0.1}
        for filters in ([16, 32], [4, 8], [8, 16], [12, 24], [24, 48], [32, 64])
    ]


def test_widths_that_are_the_same_when_rounded_are_tried_once():
    tiny = STUDENT.model_copy(update={"parameters": {"filters": [1]}})
    assert parameters_of(SearchSettings(students="auto"), tiny) == [
        {"filters": [1]},
        {"filters": [2]},
    ]


def test_the_builders_own_widths_count_where_none_are_configured():
    student = ModelSettings(model="mlp")
    assert parameters_of(SearchSettings(students="auto"), student)[:2] == [
        {},
        {"units": [16, 8]},
    ]


def test_students_of_auto_differ_in_width():
    assert differ_in_width(plan_of(SearchSettings(students="auto")).students)
    builtin = ModelSettings(model="mlp")
    assert differ_in_width(plan_of(SearchSettings(students="auto"), builtin).students)


@pytest.mark.parametrize(
    "second",
    [
        {"parameters": {"filters": [12, 40], "dropout": 0.1}},
        {"parameters": {"filters": [16, 32, 32], "dropout": 0.1}},
        {"parameters": {"filters": [32, 64], "dropout": 0.2}},
        {"parameters": {"filters": [32, 64]}},
        {"model": "resnet_small", "parameters": {"widths": [32, 64]}},
        {"parameters": {"filters": [32, 64], "dropout": 0.1}, "train": TrainSettings(epochs=4)},
    ],
    ids=["narrower_too", "deeper", "dropout", "default_dropout", "builder", "training"],
)
def test_what_differs_in_more_than_width_does_not_differ_in_width(second):
    assert not differ_in_width([STUDENT, STUDENT.model_copy(update=second)])


def test_builders_of_ones_own_have_no_known_width():
    own = [ModelSettings(model="mine:small", parameters={"filters": [at]}) for at in (4, 8)]
    assert not differ_in_width(own)


def test_a_listed_student_inherits_what_it_does_not_say():
    choices = (
        StudentChoice(parameters={"filters": [4]}, train=TrainSettings(learning_rate=0.5)),
        StudentChoice(model="cnn_tutorial", parameters={"units": 8}),
    )
    first, second = plan_of(SearchSettings(students=choices)).students
    assert first.parameters == {"filters": [4], "dropout": 0.1}
    assert first.train == STUDENT.train.model_copy(update={"learning_rate": 0.5})
    # Another builder takes other parameters.
    assert (second.model, second.parameters) == ("cnn_tutorial", {"units": 8})
    assert second.train == STUDENT.train


def test_without_students_the_best_objective_is_searched_whatever_it_costs():
    plan = plan_of(None)
    assert (plan.students, plan.objective) == ((STUDENT,), "most_accurate")
    assert plan_of(SearchSettings(students="auto")).objective == "smallest"


def test_limits_that_a_search_cannot_know_do_not_begin_it_anew():
    other = GATE.model_copy(update={"min_distillation_gain": 0.2, "allow_below_control": True})
    same = make_plan(None, STUDENT, other, ExportSettings(), (), LatencySettings())
    assert plan_of(None) == same
    assert (same.limits.max_size_bytes, same.limits.min_accuracy) == (1000, 0.5)


# -- objectives --


def tried(task="classification", augment=None, **given):
    found = objectives(DistillSettings(**given), augment or AugmentSettings(), task)
    return [(each.alpha, each.temperature, *(term.name for term in each.methods)) for each in found]


def test_what_is_not_auto_is_not_changed():
    assert tried(alpha=0.3, temperature=2) == [(0.3, 2, "soft_target")]


def test_the_configured_objective_comes_first_and_the_labels_alone_second():
    assert tried(alpha="auto", temperature=2) == [
        (0.1, 2, "soft_target"),
        (1, 2, "soft_target"),
        (0, 2, "soft_target"),
        (0.5, 2, "soft_target"),
    ]


def test_one_value_changes_at_a_time():
    found = tried(alpha="auto", temperature="auto", methods="auto")
    first = found[0]
    assert len(set(found)) == len(found) == 10
    for each in found[1:]:
        assert sum(one != other for one, other in zip(each, first, strict=True)) == 1


@pytest.mark.parametrize(
    ("task", "methods"),
    [
        ("classification", {"soft_target", "standardized", "dist", "decoupled"}),
        ("binary", {"soft_target", "dist", "decoupled"}),
        ("multilabel", {"soft_target"}),
        ("regression", {"soft_target"}),
    ],
)
def test_only_methods_that_mean_something_for_the_task(task, methods):
    assert {each[2] for each in tried(task, methods="auto")} == methods


def test_values_have_no_temperature():
    assert tried("regression", temperature="auto") == [(0.1, 4, "soft_target")]


def test_mixed_images_have_no_one_label_for_decoupled():
    found = tried(augment=AugmentSettings(mixup=0.2), methods="auto", soft_targets="online")
    assert "decoupled" not in {each[2] for each in found}


def test_auto_is_the_same_whether_written_at_the_key_or_in_the_list():
    short = DistillSettings(alpha="auto", methods="auto")
    assert short == DistillSettings(auto=["alpha", "methods"])
    assert DistillSettings.model_validate_json(short.model_dump_json()) == short


def test_values_of_a_candidate_hold_all_of_it():
    values = Candidate(STUDENT, DistillSettings(alpha=0.25)).values
    assert ModelSettings.model_validate_json(values["student"]) == STUDENT
    assert (values["alpha"], values["temperature"]) == (0.25, 4.0)
    assert [each["name"] for each in json.loads(values["methods"])] == ["soft_target"]


# -- mistakes --


@pytest.mark.parametrize(
    ("search", "distill", "student", "line"),
    [
        ({}, {}, {}, "search: must have something to choose from; set search.students, or"),
        (
            {"students": "auto"},
            {},
            {"model": "my.module:build"},
            "search.students: must be a list, since nothing says how wide my.module:build is",
        ),
        (
            {"students": [{"parameters": {"filter": [4]}}]},
            {},
            {},
            "search.students.0.parameters: separable_cnn takes filters, blocks, dropout",
        ),
        (
            {"students": [{"model": "separable"}]},
            {},
            {},
            "search.students.0.model must be one of",
        ),
        (
            None,
            {"alpha": "auto"},
            {"train": TrainSettings(epochs=0)},
            "search: student.train.epochs must be above 0",
        ),
        (
            {"students": [{"train": {"epochs": 3}}]},
            {},
            {},
            "search.students.0.train.epochs must not be set",
        ),
        (
            None,
            {"alpha": 1, "temperature": "auto"},
            {},
            "distill.alpha must be below 1 with temperature: auto",
        ),
        (
            None,
            {"alpha": "auto", "generations": 2},
            {},
            "search: distill.generations must be 1 with a search",
        ),
    ],
)
def test_a_search_that_makes_no_sense(search, distill, student, line):
    with pytest.raises(ConfigError) as caught:
        check_search(
            None if search is None else SearchSettings.model_validate(search),
            STUDENT.model_copy(update=student),
            DistillSettings(**distill),
        )
    message = str(caught.value)
    assert message.startswith(line) and "\n" not in message
