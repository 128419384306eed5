"""Tests of the charts: what they show, read from the SVG; and that they fit into a page."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from sample_report import bare_report, sample_content, sample_report
from sample_tasks import task_report

from modules.judge.schema import Report
from modules.report import charts
from modules.report.svg import SERIES, draw, readable
from modules.report.trade_off import Point, deployable, pareto_front


@pytest.fixture(scope="module")
def report() -> Report:
    return sample_report()


def _texts(svg: str | None) -> list[str]:
    assert svg is not None
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter("text")]


def _point(name: str, cost: float, accuracy: float) -> Point:
    return Point(name, cost, accuracy, accuracy, accuracy)


# -- the Pareto front --


def test_pareto_front_by_hand() -> None:
    cheap, good, best = _point("cheap", 1, 0.8), _point("good", 2, 0.9), _point("best", 9, 0.99)
    worse, dear = _point("worse", 2, 0.85), _point("dear", 10, 0.99)
    assert pareto_front([best, worse, dear, good, cheap]) == [cheap, good, best]


def test_equals_are_both_on_the_front() -> None:
    first, second = _point("a", 1, 0.9), _point("b", 1, 0.9)
    assert pareto_front([first, second]) == [first, second]


def test_pareto_front_is_what_no_point_dominates() -> None:
    import numpy as np

    random = np.random.default_rng(3)
    for _ in range(50):
        points = [
            _point(str(at), float(cost), float(accuracy))
            for at, (cost, accuracy) in enumerate(random.integers(0, 6, (12, 2)))
        ]
        undominated = {
            point.name
            for point in points
            if not any(
                other.cost <= point.cost
                and other.value >= point.value
                and (other.cost, other.value) != (point.cost, point.value)
                for other in points
            )
        }
        assert {point.name for point in pareto_front(points)} == undominated
        errors = [_point(each.name, each.cost, -each.value) for each in points]
        assert {point.name for point in pareto_front(errors, "low")} == undominated


def test_deployable_are_the_teachers_file_and_the_variants(report: Report) -> None:
    sizes = {point.name: point.cost for point in deployable(report, "size")}
    assert sizes == {"teacher": 693_420} | {
        name: variant.size_bytes for name, variant in report.variants.items()
    }
    times = {point.name: point.cost for point in deployable(report, "latency")}
    assert report.teacher.latency is not None
    assert times["teacher"] == report.teacher.latency.p50_ms
    assert list(times) == ["teacher", *report.variants]


def test_an_untimed_variant_is_left_out() -> None:
    content = sample_content()
    content["variants"]["int8"]["latency"] = None
    names = [point.name for point in deployable(Report.model_validate(content), "latency")]
    assert names == ["teacher", "float32", "float16", "dynamic_range"]


# -- what a chart shows --


def test_an_interval_need_not_hold_its_value() -> None:
    content = sample_content()
    content["variants"]["int8"] |= {"accuracy": 1.0, "intervals": {"accuracy": [0.98, 0.9999]}}
    content["variants"]["float16"]["intervals"] = {"accuracy": [None, None]}
    assert charts.trade_off(Report.model_validate(content), "size") is not None


def test_the_scatter_names_its_models(report: Report) -> None:
    texts = _texts(charts.trade_off(report, "latency"))
    assert {"teacher", *report.variants, "p50 latency, ms"} <= set(texts)
    assert "student" not in texts  # Its file is float32.


def test_confusion_counts_are_those_of_the_report(report: Report) -> None:
    texts = _texts(charts.confusion(report, "student"))
    counts = sorted(int(text) for text in texts if text.isdigit())
    assert counts == sorted(cell.count for cell in report.confusion["student"])
    assert set(report.labels) <= set(texts)


def test_speedups_have_the_aa_control(report: Report) -> None:
    texts = _texts(charts.speedups(report, "litert_batch_1"))
    assert {"teacher (A/A)", "student", *report.variants} <= set(texts)
    assert set(_texts(charts.speedups(report, "saved_model_batch_1"))) >= {"student"}


def test_the_distribution_rises_from_the_fastest_to_the_slowest_query(report: Report) -> None:
    svg = charts.latency_distribution(report, "saved_model_batch_1")
    assert svg is not None
    # The two longest paths are the two models' lines.
    paths = sorted(re.findall(r'<path d="([^"]+)"', svg), key=len)[-2:]
    for path in paths:
        points = [tuple(map(float, each.split())) for each in re.findall(r"[ML] ([-\d. ]+)", path)]
        assert len(points) > 50
        assert all(after[0] >= before[0] for before, after in pairwise(points))
        assert all(after[1] <= before[1] for before, after in pairwise(points))


def test_every_loss_term_has_its_chart(report: Report) -> None:
    metrics = charts.curve_metrics(report, "student")
    assert metrics == ["loss", "hard_loss", "soft_target_loss", "accuracy"]
    texts = _texts(charts.curve(report, "student", "soft_target_loss"))
    assert {"training", "validation", "soft target loss"} <= set(texts)
    assert "training" not in _texts(charts.curve(report, "student", "accuracy"))


@pytest.mark.parametrize("line", [[None, None], [0.5], [0.0, 1.0], [-1.0, None, 1.0]])
def test_any_curve_can_be_drawn(line: list[float | None]) -> None:
    report = sample_report(curves={"student": {"loss": line}})
    assert "training" in _texts(charts.curve(report, "student", "loss"))


def test_what_is_missing_has_no_chart() -> None:
    report = bare_report()
    assert [charts.trade_off(report, "latency"), charts.trade_off(report, "size")] == [None, None]
    assert charts.latency_distribution(report, "litert_batch_1") is None
    assert charts.speedups(report, "litert_batch_1") is None
    assert charts.main_changes(report) is None
    assert charts.confusion(report, "student") is None
    assert charts.reliability(report, "student") is None
    assert charts.curve(report, "student", "loss") is None


@pytest.mark.parametrize("name", ["roc", "precision_recall"])
@pytest.mark.thorough
def test_curves_of_ranking_are_drawn_for_both(name: Any) -> None:
    drawn = charts.answer_curve(task_report("binary"), name)
    assert {"teacher", "student"} <= set(_texts(drawn))
    assert charts.answer_curve(task_report("regression"), name) is None


@pytest.mark.parametrize("draw", [charts.predicted_values, charts.residuals])
def test_values_are_drawn_for_a_regression(draw: Any) -> None:
    assert "Student" in _texts(draw(task_report("regression"), "student"))
    assert draw(task_report("binary"), "student") is None


def test_errors_are_better_when_low() -> None:
    drawn = charts.trade_off(task_report("regression"), "size")
    assert drawn is not None and "RMSE against size" in drawn
    front = drawn.partition("rising size: ")[2].partition(".")[0].split(", ")
    assert front[-1] == "teacher"  # the largest and the best


def test_more_than_thirty_classes_have_no_matrix(report: Report) -> None:
    labels = [f"class {at}" for at in range(31)]
    assert charts.confusion(sample_report(labels=labels), "student") is None
    assert charts.confusion(sample_report(labels=labels[:30]), "student") is not None


# -- SVG in a page --


def _paint(axes: Any) -> None:
    axes.plot([1, 2], [3, 4], "o", color=SERIES[1], label="$x$ <b>")
    axes.set_title(readable("a\x01b" + "c" * 40))
    axes.legend()


def test_the_same_chart_has_the_same_bytes(report: Report) -> None:
    assert charts.trade_off(report, "size") == charts.trade_off(report, "size")


def test_colors_and_font_are_the_pages() -> None:
    svg = draw("Any chart", "it shows", _paint, (200, 150))
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert "#fab0" not in svg
    assert "font-family" not in svg
    assert "<style" not in svg


def test_labels_are_shown_as_they_are() -> None:
    texts = _texts(draw("chart", "it shows", _paint, (200, 150)))
    assert "$x$ <b>" in texts
    assert "a\N{REPLACEMENT CHARACTER}b" + "c" * 12 + "\N{HORIZONTAL ELLIPSIS}" in texts


def test_a_chart_says_what_it_shows() -> None:
    svg = draw("chart", 'a "b" <c> & d', _paint, (200, 150))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'a "b" <c> & d'
    assert root[0].tag == "title"
    assert root[0].text == 'a "b" <c> & d'


def test_two_charts_share_no_id_and_find_their_own() -> None:
    first, second = (draw(name, "it shows", _paint, (200, 150)) for name in ("one", "two"))
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in (first, second)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((first, second), ids, strict=True):
        assert len(own) == len(set(own))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == set(own)


def test_charts_import_matplotlib_only_when_drawn() -> None:
    heavy = "{'matplotlib', 'tensorflow', 'scipy'}"
    script = (
        f"import sys, modules.report.charts; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_pair_of_models_is_compared_once() -> None:
    svg = charts.main_changes(task_report("binary"))
    assert svg is not None
    assert "student \N{MINUS SIGN} teacher" in svg
    assert "teacher \N{MINUS SIGN} student" not in svg
