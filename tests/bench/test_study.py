"""The study: which cells there are, what is trained again, and what is made of the results."""

import json
import os
from concurrent.futures import Future
from queue import Queue

import numpy as np
import pytest

from bench import study, study_cells, study_report
from bench.study_cells import ARMS, AUTO, CONTROL, KERAS, PLAIN, Group
from bench.study_data import write_table


def run_of(cell, seed, digest="", **accuracy):
    """A finished run; each arm's accuracy in percent of 100 eval examples."""
    name, labels, size = cell.split("/")
    arms = {
        arm: {"accuracy": value / 100, "seconds": 1.0, "better": max(value - 80, 0) + 5, "worse": 5}
        for arm, value in accuracy.items()
    }
    return {
        "cell": cell,
        "seed": seed,
        "key": Group(name, labels, seed).key(size, digest),
        "seconds": 10.0,
        "teacher": 0.9,
        "examples": {"eval": 100},
        "arms": arms,
    }


CELL = "digits/few/small"


# -- cells and their keys --


def test_there_are_six_data_sets_two_numbers_of_labels_and_three_students():
    cells = list(study_cells.cell_names())
    assert len(cells) == len(set(cells)) == 36
    assert study.chosen_cells([]) == cells
    assert study.chosen_cells(["digits"]) == [each for each in cells if "digits/" in each]
    assert study.chosen_cells([CELL, "cancer/all"]) == [
        CELL,
        *(f"cancer/all/{size}" for size in ("small", "medium", "large")),
    ]
    assert study.chosen_cells(["digit"]) == []


def test_students_grow_and_only_few_labels_are_hidden():
    for name in study_cells.DATA_SETS:
        every, few = (Group(name, labels, 3).data for labels in ("all", "few"))
        assert few == every | {"max_labels": study_cells.DATA_SETS[name].few}
        assert every["split_seed"] == 3
        sizes = [str(Group(name, "all", 0).student(size).parameters) for size in study_cells.SIZES]
        assert len(set(sizes)) == 3


def test_a_result_depends_on_settings_seed_and_code():
    group = Group("digits", "few", 0)
    assert group.key("small", "a") == Group("digits", "few", 0, ("small",)).key("small", "a")
    others = [
        group.key("medium", "a"),
        group.key("small", "b"),
        Group("digits", "all", 0).key("small", "a"),
        Group("digits", "few", 1).key("small", "a"),
        Group("digits", "few", 0, quick=True).key("small", "a"),
    ]
    assert len({group.key("small", "a"), *others}) == 6


# -- what is trained again --


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A study of one data set on what a file already has."""
    monkeypatch.setattr(study, "study_digest", lambda: "now")

    def make(*runs, cells=("digits",), seeds=2):
        path = tmp_path / "study.json"
        path.write_text(json.dumps({"runs": runs}))
        return study.Study(path, study.chosen_cells(cells), seeds, quick=False)

    return make


def test_finished_cells_are_skipped_and_students_share_a_teacher(made):
    one, two = study.FIRST_SEED, study.FIRST_SEED + 1
    done = [run_of("digits/all/small", one, "now", control=80)]
    done.append(run_of(CELL, two, "now", control=80))
    groups = [(each.labels, each.seed, each.students) for each in made(*done).groups()]
    assert groups == [
        ("all", one, ("medium", "large")),
        ("few", one, ("small", "medium", "large")),
        ("all", two, ("small", "medium", "large")),
        ("few", two, ("medium", "large")),
    ]


def test_few_labels_can_have_a_teacher_of_their_own():
    teachers = {name: Group("diamonds", name, 0).teacher for name in ("all", "few")}
    assert teachers["few"] == study_cells.DATA_SETS["diamonds"].few_teacher != teachers["all"]
    longer = Group("digits", "few", 0).teacher.train.epochs
    assert longer == 4 * Group("digits", "all", 0).teacher.train.epochs


def test_results_of_other_code_are_dropped(made, capsys):
    assert len(list(made(run_of(CELL, 0, "before", control=80), cells=[CELL]).groups())) == 2
    assert "1 results are of other code or settings: dropped" in capsys.readouterr().out


def test_results_are_taken_as_they_come_until_all_jobs_have_ended():
    results, job = Queue(), Future()
    results.put("first")
    arriving = study._arriving(results, [job])
    assert next(arriving) == "first"
    results.put("second")
    job.set_exception(RuntimeError("the process has died"))
    assert list(arriving) == ["second"]


def half_done(group, digest, sender):
    """A worker that dies when it has told of its first student."""
    sender.send(group.result(group.students[0], digest, seconds=1.0))
    sender.close()
    os._exit(9)


def test_a_process_that_dies_is_a_result_of_what_it_has_not_trained():
    results = []
    group = Group("digits", "few", 1, ("small", "large"))
    study._in_process(group, "digest", results.append, half_done)
    first, second = results
    assert first["cell"] == "digits/few/small" and "error" not in first
    assert second == {
        "cell": "digits/few/large",
        "seed": 1,
        "key": group.key("large", "digest"),
        "seconds": 0.0,
        "error": "the process has ended with 9",
    }


# -- what is made of them --

SEEDS = (
    {CONTROL: 80, AUTO: 84, PLAIN: 82, KERAS: 80},
    {CONTROL: 81, AUTO: 86, PLAIN: 82, KERAS: 80},
    {CONTROL: 79, AUTO: 85, PLAIN: 82, KERAS: 82},
)


def runs():
    return [run_of(CELL, seed, **accuracy) for seed, accuracy in enumerate(SEEDS)]


def test_gains_are_paired_by_seed():
    """4, 5 and 6 points: a mean of 5, a standard error of 0.577, and t(2) = 4.303."""
    found = study_report.summarize(runs())[CELL]
    gain = found["gains"][AUTO]
    assert gain["difference"] == pytest.approx(0.05)
    assert gain["ci_low"] == pytest.approx(0.05 - 4.302653 * 0.01 / np.sqrt(3), abs=1e-6)
    assert gain["ci_high"] == pytest.approx(0.05 + 4.302653 * 0.01 / np.sqrt(3), abs=1e-6)
    assert found["auto_against_plain"]["difference"] == pytest.approx(0.03)
    assert (found["teacher"], found[CONTROL]) == pytest.approx((0.9, 0.8))


def test_examples_drawn_again_spread_as_a_proportion_does():
    """Many seeds with the same counts: all that is left is the spread of the examples' mean."""
    same = [run_of(CELL, seed, control=80, auto=90) for seed in range(20)]
    low, high = study_report.resampled(same, AUTO)
    shares = {1: 0.15, -1: 0.05, 0: 0.8}
    variance = sum(share * value**2 for value, share in shares.items()) - 0.1**2
    half = 1.96 * np.sqrt(variance / 100 / 20)
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.2 * half)


def test_what_failed_stays_in_the_table():
    broken = runs()
    broken[1]["arms"][KERAS] = {"error": "ValueError: no"}
    lost = {key: broken[2][key] for key in ("cell", "seed", "key", "seconds")}
    broken[2] = lost | {"error": "DataError: gone"}
    found = study_report.summarize(broken)
    assert found[CELL]["failures"] == ["seed 2: DataError: gone", "seed 1, keras: ValueError: no"]
    text = study_report.table({"summary": found, "hours": 1.0, "quick": False})
    (row,) = [line for line in text.splitlines() if line.startswith("| digits")]
    assert [cell.strip() for cell in row.strip("|").split("|")][:4] == [
        *("digits", "10 % + unlabeled", "small", "3"),
    ]
    assert "1 failed" in row and row.rstrip(" |").endswith("failed")
    assert f"- {CELL}, seed 2: DataError: gone" in text


def test_the_counts_say_where_an_interval_is_clear_of_zero():
    found = study_report.summarize(runs())
    counts = study_report.counts(found, AUTO)
    assert counts == "above in 1, below in 0 of 1 cells, +5.0 points on average"
    assert study_report.counts(found, KERAS).startswith("above in 0, below in 0 of 1 cells")
    assert study_report.counts({}, AUTO) == "not measured"


def test_the_picture_has_all_arms_and_cells(tmp_path):
    both = [*runs(), *(run | {"cell": "digits/all/small"} for run in runs())]
    path = tmp_path / "study.svg"
    study_report.draw(study_report.summarize(both), path)
    text = path.read_text()
    for color in ("#1f77b4", "#7f7f7f", "#ff7f0e"):
        assert f"stroke: {color}" in text
    assert set(study_report.TAUGHT) | {CONTROL} == set(ARMS)


def test_cancer_is_the_table_of_scikit_learn(tmp_path):
    import pyarrow.parquet as pq

    write_table("cancer", tmp_path)
    table = pq.read_table(tmp_path / "cancer.parquet")
    assert len(table) == 569 and len(table.column_names) == 31
    assert set(table["diagnosis"].to_pylist()) == {"benign", "malignant"}


def test_prices_are_eight_classes_of_about_the_same_size(tmp_path):
    import pyarrow.parquet as pq

    write_table("diamonds", tmp_path)
    table = pq.read_table(tmp_path / "diamonds.parquet")
    assert "price" not in table.column_names
    _, counts = np.unique(table["price_class"].to_pylist(), return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 0.09 * len(table) and counts.max() < 0.16 * len(table)
