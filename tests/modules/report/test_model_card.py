"""Tests of model_card.md, read back as the Hub reads it, with no network."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index
from sample_report import bare_report, refused_report, sample_content, sample_report
from sample_tasks import task_report

from modules.judge.formats import typeset
from modules.judge.schema import Report
from modules.report import model_card
from modules.report.tasks import presentation

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


@pytest.fixture(scope="module", autouse=True)
def _no_network() -> Iterator[None]:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a model card needs no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="module")
def report() -> Report:
    return sample_report()


@pytest.fixture(scope="module")
def card(report: Report) -> ModelCard:
    return ModelCard(model_card.render(report))


# -- metadata --


def test_metadata_are_read_back_as_the_report_has_them(report: Report, card: ModelCard) -> None:
    data = card.data
    assert data.pipeline_tag == "image-classification"
    assert data.tags == ["tensorflow", "tflite", "tfx", "knowledge-distillation"]
    assert data.model_name == "digits"
    results = {result.metric_name: result for result in data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        "Accuracy (SavedModel)": report.student.accuracy,
        "Accuracy (TFLite dynamic_range)": report.variants["dynamic_range"].accuracy,
    }
    for result in results.values():
        assert (result.task_type, result.metric_type) == ("image-classification", "accuracy")
        assert (result.dataset_name, result.dataset_split) == ("digits", "eval")


def test_metadata_have_the_form_of_the_hubs_model_index(card: ModelCard) -> None:
    metadata = yaml.safe_load(card.content.split("---\n")[1])
    assert set(metadata) == {"metrics", "model-index", "pipeline_tag", "tags"}
    assert metadata["model-index"] == eval_results_to_model_index("digits", card.data.eval_results)


def test_the_first_sentence_is_the_gain(report: Report, card: ModelCard) -> None:
    (remark,) = report.gate.remarks
    title, first, second, *_ = card.text.strip().split("\n\n")
    assert (title, first) == ("# digits", f"{model_card.plain(remark)}.")
    assert second.startswith("A student model, distilled from a larger teacher")


def test_no_license_is_invented(card: ModelCard) -> None:
    assert card.data.license is None
    assert card.data.library_name is None


@pytest.mark.parametrize("make", [refused_report, bare_report])
def test_what_does_not_ship_has_no_result(make: Any) -> None:
    report = make()
    (result,) = ModelCard(model_card.render(report)).data.eval_results
    assert result.metric_value == report.student.accuracy


def test_the_data_set_is_called_after_its_folder() -> None:
    content = sample_content()
    content["config"]["data"] |= {"source": "image_folder", "path": "/data/leaves/"}
    card = ModelCard(model_card.render(Report.model_validate(content)))
    assert card.data.eval_results[0].dataset_name == "leaves"


# -- text --


def test_the_numbers_are_those_of_the_report(report: Report, card: ModelCard) -> None:
    rows = {
        cells[1]: cells
        for cells in ([cell.strip() for cell in line.split("|")] for line in card.text.splitlines())
        if len(cells) == 11
    }
    for name, entry in {"student": report.student, "TFLite int8": report.variants["int8"]}.items():
        low, high = entry.intervals["accuracy"]
        assert rows[name][2] == f"{entry.accuracy:.4f} [{low:.4f}, {high:.4f}]"
        assert rows[name][8] == f"{entry.parameters:,}"
    comparison = report.comparison
    assert (
        f"gain (accuracy, student {MINUS} control): {comparison.distillation_gain:+.4f} ["
        in card.text
    )
    assert comparison.speedup is not None
    assert (
        f"{comparison.speedup.median:.2f}{TIMES} [{comparison.speedup.ci_low:.2f}{TIMES}"
        in card.text
    )
    assert "alpha 0.5 and temperature 4.0" in card.text
    assert "`separable_cnn(filters=[12, 24])`, 3,094 parameters" in card.text


def test_limitations_name_what_the_report_has_against_the_student(card: ModelCard) -> None:
    limitations = card.text.partition("## Limitations")[2].partition("## Use")[0]
    assert "345 examples" in limitations
    assert "Failed: `max_tflite_accuracy_drop[int8]`" in limitations
    assert "Its weakest classes: one (0.8889 of 36)" in limitations
    assert f"class\\_name=one ({MINUS}0.0833 [" in limitations
    refused = model_card.render(refused_report())
    assert "**refused**" in refused
    assert "Inconclusive: `max_accuracy_drop`" in refused


def test_every_file_has_its_digest(report: Report, card: ModelCard) -> None:
    for variant in report.variants.values():
        assert re.search(rf"\| `{variant.file}` +\| .* `{variant.sha256}` \|", card.text)


def test_a_bare_report_has_a_card() -> None:
    text = ModelCard(model_card.render(bare_report())).text
    assert "**refused**" in text
    assert "Not measured." in text
    assert "There are no TFLite files." in text
    assert "None" not in text
    assert "nan" not in text


def test_a_users_text_is_not_markup() -> None:
    content = sample_content()
    content["labels"][0] = "<script>a|b</script>\n# heading"
    content["per_class"][1]["label"] = "a`b*c*\x1b[31m"
    content["config"]["data"] |= {"source": "image_folder", "path": "x/---\nlicense: mit"}
    card = ModelCard(model_card.render(Report.model_validate(content)))
    assert card.data.license is None
    assert "<script>" not in card.text
    assert "\\<script\\>a\\|b\\</script\\> \\# heading" in card.text
    assert "\n# heading" not in card.text
    assert "a\\`b\\*c\\*\\x1b\\[31m" in card.text


def test_the_code_for_use_is_python(card: ModelCard) -> None:
    blocks = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "card", "exec")


# -- other tasks --


@pytest.mark.parametrize(
    ("task", "tag", "metrics"),
    [
        ("binary", "tabular-classification", ["accuracy", "roc_auc"]),
        ("multilabel", "tabular-classification", ["accuracy", "macro_f1", "roc_auc"]),
        ("regression", "tabular-regression", ["rmse", "mae", "r2"]),
    ],
)
def test_a_card_of_every_task_has_its_own_numbers(task: Any, tag: str, metrics: list) -> None:
    report = task_report(task)
    card = ModelCard(model_card.render(report))
    assert card.data.pipeline_tag == tag
    assert list(dict.fromkeys(each.metric_type for each in card.data.eval_results)) == metrics
    value = typeset(getattr(report.student, report.main), presentation(task).main.form)
    assert f"| student | {value} [" in re.sub(" +", " ", card.text)
    assert ("accuracy" in card.text) == (task != "regression")
    assert not re.search(r"\b(None|nan)\b", card.text)
    assert "is furthest from its teacher's on site=" in card.text


@pytest.mark.parametrize(
    ("kinds", "tag"),
    [(["image"], "image"), (["text"], "text"), (["text", "numeric"], "tabular"), ([], "tabular")],
)
def test_the_hubs_task_follows_the_kinds_of_inputs(kinds: list[str], tag: str) -> None:
    features = {kind: {"kind": kind} for kind in kinds}
    config = {"data": {"source": "csv", "features": features}}
    report = task_report("binary").model_copy(update={"config": config})
    assert model_card.pipeline_tag(report) == f"{tag}-classification"
