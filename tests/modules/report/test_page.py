"""Tests of index.html in a real browser: what it asks for, shows and looks like."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsers import headless_chromium
from sample_report import (
    bare_report,
    number_at,
    refused_report,
    sample_content,
    sample_images,
    sample_report,
)
from sample_tasks import task_report

from modules.judge.schema import Report
from modules.judge.task_numbers import NUMBERS
from modules.report.page import render as render_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCRIPT = "<script>window.harmed = 1</script>"
# Contrast of two colors as WCAG 2 defines it, and the colors of a chart's texts.
CONTRASTS = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).map((each) => each / 255).map(
      (each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const contrast = (color) => {
    const [low, high] = [light(color), paper].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const inked = [...document.querySelectorAll('svg text')].filter(
    (each) => !each.getAttribute('style').includes('--on-heat'));
  const marks = [...document.querySelectorAll('svg [style*="--series"]')];
  const words = [...document.querySelectorAll('p, li, th, td, h1, h2, h3, figcaption, code')];
  return {
    chart: Math.min(...inked.map((each) => contrast(getComputedStyle(each).fill))),
    marks: Math.min(...marks.map((each) => getComputedStyle(each).stroke)
      .filter((each) => each !== 'none').map(contrast)),
    text: Math.min(...words.map((each) => contrast(getComputedStyle(each).color))),
    count: inked.length,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def report() -> Report:
    return sample_report()


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return render_page(report, sample_images(report))


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """`open_page(html, **context)`: the page from a file; fails on any message or request."""
    contexts, noises = [], []

    def opened(text: str, **options: Any) -> Page:
        file = tmp_path / "index.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noises.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: noises.append(f"error: {error}"))
        page.on("request", lambda request: noises.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_load_state("networkidle")
        assert noises.pop(0) == file.as_uri()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert noises == []


def _numbers(page: Page) -> list[tuple[str, float, float]]:
    """Dotted name, number as shown, and the half of its last digit."""
    found = page.eval_on_selector_all(
        "[data-number]",
        "all => all.map(each => [each.dataset.number, each.dataset.scale, each.textContent])",
    )
    numbers = []
    for path, scale, shown in found:
        digits = shown.replace(",", "").replace("\N{MINUS SIGN}", "-")
        last = 10.0 ** -len(digits.partition(".")[2])
        numbers.append((path, float(digits) * float(scale), 0.5001 * last * float(scale)))
    return numbers


# -- what it shows --


def test_the_numbers_shown_are_those_of_the_report(
    report: Report, html: str, open_page: Callable[..., Page]
) -> None:
    content = report.model_dump(mode="json")
    shown = _numbers(open_page(html))
    for path, value, tolerance in shown:
        assert value == pytest.approx(number_at(content, path), abs=tolerance), path
    paths = {path for path, *_ in shown}
    for role in (
        "teacher",
        "student",
        "control",
        *(f"variants.{name}" for name in report.variants),
    ):
        wanted = {"accuracy", "loss", "ece", "top_k.3", "parameters", "size_bytes"}
        wanted |= {"intervals.accuracy.0", "intervals.accuracy.1"}
        if role != "control":
            wanted |= {"latency.p50_ms", "latency.p99_ms"}
        assert {f"{role}.{key}" for key in wanted} <= paths
    for key in ("accuracy_change", "distillation_gain", "agreement", "agreement_teacher_right"):
        assert {f"comparison.{key}", f"comparison.intervals.{key}.1"} <= paths
    for way, models in report.comparison.speedups.items():
        assert f"comparison.aa_control.{way}.ci_low" in paths
        assert {f"comparison.speedups.{way}.{name}.ci_high" for name in models} <= paths
    for at, check in enumerate(report.gate.checks):
        assert {f"gate.checks.{at}.{key}" for key in ("value", "threshold", "low")} <= paths, check
    change = "student.against.teacher.accuracy.value"
    assert {f"slices.{at}.{change}" for at in range(len(report.slices))} <= paths
    for at, _ in enumerate(report.disagreements):
        assert f"disagreements.{at}.teacher_confidence" in paths


def test_everything_is_said(report: Report, html: str, open_page: Callable[..., Page]) -> None:
    page = open_page(html)
    text = page.inner_text("body")
    for check in report.gate.checks:
        assert check.reason.lower() in text.lower()
        assert check.name in text
    for variant in report.variants.values():
        assert variant.sha256 in text
    assert report.lineage is not None
    assert report.data is not None
    for said in (report.lineage.code_digest, report.lineage.artifacts[0].uri, "soft_target"):
        assert said in text
    assert report.data.anomalies[0] in text
    assert report.environment.cpu in text
    assert "student.train.learning_rate" in text
    assert "conv2d_1" in text
    assert "23 November 2026, 09:30 UTC" in text
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Verdict",
        "Models",
        "Accuracy against cost",
        "Search",
        "Latency",
        "Student against teacher",
        "Classes and slices",
        "Confusion",
        "Calibration",
        "Where teacher and student differ",
        "Training",
        "Data",
        "Quantization error by layer",
        "Origin",
    ]


def test_slices_are_sorted_by_change(
    report: Report, html: str, open_page: Callable[..., Page]
) -> None:
    shown = [
        value
        for path, value, _ in _numbers(open_page(html))
        if re.fullmatch(r"slices\.\d+\.student\.against\.teacher\.accuracy\.value", path)
    ]
    assert len(shown) == len(report.slices)
    assert shown == sorted(shown)


def test_the_first_sentence_is_the_gain(report: Report, html: str) -> None:
    """`sample_report` has a control; what it was worth stands before everything else."""
    (remark,) = report.gate.remarks
    first, second = re.findall(r'<p class="essence">(.*?)</p>', html)
    assert unescape(first) == f"{remark}."
    assert second.startswith("On ")


@pytest.mark.parametrize(
    ("report", "word", "marks"),
    [
        (sample_report(), "Passed", {"passed", "failed"}),
        (refused_report(), "Refused", {"passed", "failed", "inconclusive"}),
        (
            sample_report(
                gate=sample_content()["gate"]
                | {"blessed": False, "verdict": "inconclusive", "tflite": []},
            ),
            "Inconclusive",
            {"passed", "failed"},
        ),
    ],
    ids=["passed", "refused", "inconclusive"],
)
def test_the_verdict_is_said_in_words(report: Report, word: str, marks: set[str]) -> None:
    html = render_page(_small(report), {})
    verdict = re.search(r'<p class="verdict">(.*?)</p>', html)
    assert verdict is not None
    assert re.sub("<[^>]+>", "", verdict[1]).split()[-1] == word
    found = re.findall(r'<span class="mark">.*?</span> (\w+)</span>', html)
    assert set(found) == marks
    assert ("Nothing ships." in html) == (not report.gate.blessed)


def test_a_check_that_does_not_count_is_muted(report: Report) -> None:
    checks = re.findall(r'<li class="(\w+)">(.*?)</li>', render_page(_small(report), {}), re.DOTALL)
    assert len(checks) == len(report.gate.checks)
    for check, (shown_as, content) in zip(report.gate.checks, checks, strict=True):
        assert shown_as == (check.verdict if check.counts else "aside")
        assert ("does not ship" in content) == (not check.counts)


def _small(report: Report) -> Report:
    """Without what takes seconds to draw."""
    untimed: dict[str, Any] = {"latency": None, "latencies": {}, "against": {}}
    left_out: dict[str, Any] = {"curves": {}, "reliability": {}, "confusion": {}}
    for role in ("teacher", "student", "control"):
        entry = getattr(report, role)
        left_out[role] = entry and entry.model_copy(update=untimed)
    left_out["variants"] = {
        name: variant.model_copy(update=untimed) for name, variant in report.variants.items()
    }
    return report.model_copy(update=left_out)


def test_disagreements_are_shown_with_their_images(
    report: Report, html: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(html)
    sizes = page.eval_on_selector_all(
        ".examples img", "all => all.map(each => [each.complete, each.naturalWidth])"
    )
    assert sizes == [[True, 8]] * len(report.disagreements)
    captions = page.locator(".examples figcaption").all_inner_texts()
    for each, caption in zip(report.disagreements, captions, strict=True):
        label, teacher, student, _ = caption.split("\n")
        assert label == report.labels[each.label]
        for said, answer in ((teacher, each.teacher), (student, each.student)):
            mark = "✓" if answer == each.label else "✕"
            assert f"{mark} {report.labels[answer]}" in said


def test_only_tiny_images_show_their_pixels(report: Report) -> None:
    from PIL import Image

    images = {}
    for width, each in zip((96, 97), report.disagreements, strict=False):
        stream = io.BytesIO()
        Image.new("L", (width, 300)).save(stream, "png")
        images[each.example_id] = stream.getvalue()
    html = render_page(_small(report), images)
    assert re.findall(r"<img( class=\"tiny\")?", html) == [' class="tiny"', ""]


def test_a_missing_image_is_said(report: Report) -> None:
    images = sample_images(report)
    first = report.disagreements[0].example_id
    del images[first]
    html = render_page(_small(report), images)
    assert html.count("image not shown") == 1
    assert html.count("data:image/png;base64,") == len(images)


def test_large_images_do_not_make_a_large_page(report: Report) -> None:
    images = {each.example_id: bytes(1_200_000) for each in report.disagreements}
    html = render_page(_small(report), images)
    assert html.count("data:image/png;base64,") == 2
    assert len(html.encode()) < 8_000_000


def test_what_is_absent_leaves_its_section_out(open_page: Callable[..., Page]) -> None:
    page = open_page(render_page(bare_report(), {}))
    assert page.locator("h2").all_inner_texts() == [
        "Verdict",
        "Models",
        "Latency",
        "Student against teacher",
        "Origin",
    ]
    text = page.inner_text("main")
    assert "Not measured." in text
    assert "None" not in text
    assert "nan" not in text.lower()
    assert page.locator("svg").count() == 0


@pytest.mark.parametrize(
    "key",
    [
        "slices",
        "per_class",
        "disagreements",
        "data",
        "lineage",
        "control",
        "tuned",
        "labels",
        "search",
    ],
)
def test_any_single_part_may_be_missing(key: str) -> None:
    empty: Any = type(sample_content()[key])()
    report = sample_report(
        **{key: None if key in ("data", "lineage", "control", "search") else empty}
    )
    html = render_page(_small(report), {})
    assert ">None<" not in html


# -- safety --


def test_a_users_text_is_never_markup(open_page: Callable[..., Page]) -> None:
    content = sample_content()
    content["labels"][3] = content["per_class"][3]["label"] = SCRIPT
    content["slices"][0]["slice"] = {SCRIPT: SCRIPT}
    content["data"]["anomalies"] = [SCRIPT]
    content["variants"]["int8"]["file"] = SCRIPT
    content["gate"]["checks"][0]["reason"] = SCRIPT
    content["config"]["data"]["path"] = f"</pre>{SCRIPT}"
    content["name"] = "</title>" + SCRIPT
    content["data"]["splits"]["train"]["classes"] = {SCRIPT: 3, 'a" onclick="b.c': 4}
    content["disagreements"][0]["example_id"] = f'"><img src=x onerror="{SCRIPT}">'
    page = open_page(render_page(_small(Report.model_validate(content)), {}))
    assert page.evaluate("window.harmed") is None
    assert page.locator("script").count() == 0
    assert page.locator(".examples img").count() == 0
    assert SCRIPT in page.inner_text("main")
    assert any(path.endswith('classes.a" onclick="b.c') for path, *_ in _numbers(page))


def test_nothing_is_fetched_or_run(html: str) -> None:
    targets = re.findall(r'(?:src|href|action|data|poster)="([^"]*)"', html)
    assert targets
    assert {each for each in targets if not each.startswith(("#", "data:"))} == set()
    assert "<script" not in html
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) == {"#"}


def test_the_page_is_small_and_the_same_each_time(report: Report, html: str) -> None:
    assert len(html.encode()) < 1_000_000
    again = render_page(report, sample_images(report))
    assert again == html


def test_a_thousand_classes_stay_below_eight_megabytes() -> None:
    content = sample_content()
    labels = [f"class {at}" for at in range(1000)]
    content["labels"] = labels
    content["per_class"] = [content["per_class"][0] | {"label": label} for label in labels]
    content["slices"] = [
        content["slices"][0] | {"slice": {"class_name": label}} for label in labels
    ]
    counts = dict.fromkeys(labels, 12)
    for split in content["data"]["splits"].values():
        split["classes"] = counts
    content["confusion"] = {
        "student": [
            {"label": at, "predicted": (at * 7) % 1000, "count": 1 + at % 5} for at in range(1000)
        ]
    }
    report = Report.model_validate(content)
    html = render_page(_small(report).model_copy(update={"confusion": report.confusion}), {})
    assert len(html.encode()) < 8_000_000
    assert "confusion-student" not in html
    assert "Most frequent wrong answers: student" in html


# -- for every reader --


def test_ids_are_unique_and_references_meet(html: str, open_page: Callable[..., Page]) -> None:
    page = open_page(html)
    ids = page.eval_on_selector_all("[id]", "all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    used |= set(re.findall(r'aria-labelledby="([^"]+)"', html))
    assert used <= set(ids)


def test_headings_and_tables_have_a_structure(html: str, open_page: Callable[..., Page]) -> None:
    page = open_page(html)
    levels = page.eval_on_selector_all(
        "h1, h2, h3, h4, h5, h6", "all => all.map(each => Number(each.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("table:not(:has(th))").count() == 0
    assert page.locator("svg:not([role=img][aria-label])").count() == 0
    assert page.locator("img:not([alt])").count() == 0
    assert page.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_never_scrolls_sideways(
    width: int, html: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(html, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = page.evaluate(
        "width => [...document.querySelectorAll('section > *, figure, svg.chart')].filter("
        "each => each.getBoundingClientRect().right > width + 0.5).length",
        width,
    )
    assert beyond == 0
    # What is wider scrolls within its box.
    if width == 360:
        wide = page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter("
            "each => each.scrollWidth > each.clientWidth).length"
        )
        assert wide > 0


def test_light_and_dark_are_both_readable(html: str, open_page: Callable[..., Page]) -> None:
    colors = {}
    for scheme in ("light", "dark"):
        page = open_page(html, color_scheme=scheme)
        colors[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('svg text')).fill]"
        )
        contrasts = page.evaluate(CONTRASTS)
        assert contrasts["count"] > 100
        assert contrasts["chart"] >= 4.5
        assert contrasts["text"] >= 4.5
        assert contrasts["marks"] >= 3
    assert all(light != dark for light, dark in zip(colors["light"], colors["dark"], strict=True))


def test_paper_is_white_and_shows_whole_tables(html: str, open_page: Callable[..., Page]) -> None:
    page = open_page(html, color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(media="print", color_scheme="dark")
    white = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == white, white) == (False, "rgb(255, 255, 255)")
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll, pre')].every("
        "each => getComputedStyle(each).overflowY === 'visible')"
    )
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_importing_stays_light() -> None:
    heavy = "{'tensorflow', 'keras', 'scipy', 'tfx', 'matplotlib', 'huggingface_hub'}"
    script = f"import sys, modules.report.page; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# -- other tasks --

TASKS: tuple[Any, ...] = ("binary", "multilabel", "regression")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.thorough
def test_the_numbers_of_every_task_are_those_of_its_report(
    task: Any, open_page: Callable[..., Page]
) -> None:
    report = task_report(task)
    content = report.model_dump(mode="json")
    page = open_page(render_page(report, {}))
    shown = _numbers(page)
    for path, value, tolerance in shown:
        assert value == pytest.approx(number_at(content, path), abs=tolerance), path
    paths, change = {path for path, *_ in shown}, f"against.teacher.{report.main}.value"
    for name in NUMBERS[task]:
        if name != "top_k":
            assert {f"student.{name}", f"student.intervals.{name}.1"} <= paths
    for name in set().union(*NUMBERS.values()) - set(NUMBERS[task]):
        assert f"student.{name}" not in paths
    assert {f"student.{change}", f"slices.0.student.{change}", "comparison.agreement"} <= paths
    headings = set(page.locator("h2").all_inner_texts())
    assert ("Ranking" in headings) == (task in ("binary", "multilabel"))
    assert ("Values" in headings) == (task == "regression")
    assert ("Calibration" in headings) == (task != "regression")
    text = page.inner_text("body")
    assert "<b>note</b> a long text" in text  # the examples are no images
    for section in ("models", "against", "slices"):
        said = page.inner_text(f"section[aria-labelledby={section}]")
        assert ("accuracy" in said) == (task != "regression"), section
    assert ("fog & <ice>" in text) == (task == "multilabel")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.thorough
def test_a_page_of_every_task_is_wide_enough_for_a_phone(
    task: Any, open_page: Callable[..., Page]
) -> None:
    html = render_page(task_report(task), {})
    page = open_page(html, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.thorough
def test_differing_answers_are_told_as_the_task_has_them(open_page: Callable[..., Page]) -> None:
    report = task_report("multilabel")
    page = open_page(render_page(report, {}))
    captions = page.locator("section[aria-labelledby=disagreements] figcaption").all_inner_texts()
    first = report.disagreements[0]
    assert isinstance(first.label, list) and isinstance(first.student, list)
    assert captions[0].startswith(", ".join(report.labels[at] for at in first.label) or "none")
    assert ", ".join(report.labels[at] for at in first.student) in captions[0]
