"""A report whose teacher is no model: every view shows what there is, and says what is not."""

from __future__ import annotations

from typing import Any

import pytest
from sample_report import sample_content

from modules.judge.schema import Report
from modules.report import model_card, page
from modules.report.table import markdown_table
from modules.report.trade_off import deployable

ORIGIN = "The teacher is the function forest:answer; it answered every example once."


@pytest.fixture(scope="module")
def report() -> Report:
    content: dict[str, Any] = sample_content()
    content["teacher"] |= {"size_bytes": None, "parameters": None, "latency": None}
    content["teacher"] |= {"latencies": {}, "fresh": {}}
    content["comparison"] |= {"speedup": None, "compression": None}
    content["comparison"] |= {"speedups": {}, "aa_control": {}}
    for variant in content["variants"].values():
        variant |= {"compression": None, "speedup": None}
    return Report.model_validate({**content, "teacher_origin": ORIGIN})


def test_the_terminal_says_so(report: Report) -> None:
    text = markdown_table(report)
    assert "Speed-up: no model to time." in text and ORIGIN in text
    row = next(line for line in text.splitlines() if line.startswith("| teacher"))
    assert row.count("| - |") + row.count("-") >= 5


def test_page_and_card_name_the_teacher(report: Report) -> None:
    assert ORIGIN in page.render(report, {})
    card = model_card.render(report)
    assert "- teacher: The teacher is the function forest:answer" in card


def test_only_the_students_files_can_be_deployed(report: Report) -> None:
    for cost in ("latency", "size"):
        assert "teacher" not in {point.name for point in deployable(report, cost)}
