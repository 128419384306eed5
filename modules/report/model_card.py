"""model_card.md: the student as Hugging Face's model cards describe models.

Only what the report knows is said. There is no license, for the report knows none, and no
`library_name`: neither a SavedModel nor a TFLite file is loaded by any of the Hub's libraries,
and naming one has the Hub print code that fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from modules.errors import printable
from modules.judge.formats import slice_name, typeset
from modules.judge.schema import Entry, Report
from modules.report.tasks import presentation
from modules.report.text import (
    day,
    essence,
    interval_text,
    runtime_name,
    training_examples,
    verdict_word,
)
from modules.settings import TeacherSettings

TAGS = ["tensorflow", "tflite", "tfx", "knowledge-distillation"]
WEAKEST = 3  # classes and slices that are named among the limitations
_IMAGE_SOURCES = ("digits", "image_folder")
_NOT_INPUTS = ("label", "class_name", "example_id", "example_weight")
_TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The card: metadata in YAML, then Markdown."""
    data = card_data(report)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        # It is Markdown; `plain` takes the place of the escaping of HTML.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    body = environment.get_template("model_card.md.j2").render(
        report=report,
        word=verdict_word(report.gate),
        day=day(report.created),
        essence=essence(report),
        training_examples=training_examples(report),
        plain=plain,
        code=code,
        text=typeset,
        interval=interval_text,
        runtime_name=runtime_name,
        labels=[plain(label) for label in report.labels],
        dataset=dataset(report),
        teachers=_model_lines(report),
        distill=_distilled(report),
        timed={name: entry for name, entry in report.models.items() if entry.latency},
        limitations=list(_limitations(report)),
        shown=presentation(report.task),
        features=_features(report),
    )
    return str(ModelCard(printable(f"---\n{data.to_yaml()}\n---\n\n{body.strip()}\n")))


def card_data(report: Report) -> ModelCardData:
    """The metadata: results of the student and of every variant that ships, on the eval split."""
    shown: list[tuple[str, Entry]] = [("SavedModel", report.student)]
    shown += [(report.title(name), report.variants[name]) for name in report.gate.tflite]
    columns = [
        each for each in presentation(report.task).terminal if each.key not in ("loss", "ece")
    ]
    tag = pipeline_tag(report)
    return ModelCardData(
        model_name=report.name,
        pipeline_tag=tag,
        tags=TAGS,
        metrics=[each.key for each in columns],
        eval_results=[
            EvalResult(
                task_type=tag,
                dataset_type=dataset(report),
                dataset_name=dataset(report),
                dataset_split="eval",
                metric_type=each.key,
                metric_name=f"{each.title[0].upper()}{each.title[1:]} ({name})",
                metric_value=value,
            )
            for name, entry in shown
            for each in columns
            if (value := getattr(entry, each.key)) is not None
        ],
    )


def pipeline_tag(report: Report) -> str:
    """The Hub's name of the task: of images or texts where the inputs are nothing else."""
    data = report.config.get("data", {})
    kinds = {each.get("kind") for each in (data.get("features") or {}).values()}
    if report.task == "regression":
        return "tabular-regression"
    if kinds == {"image"} or (not kinds and data.get("source") in _IMAGE_SOURCES):
        return "image-classification"
    return "text-classification" if kinds == {"text"} else "tabular-classification"


def dataset(report: Report) -> str:
    """The name of the data: the source's, or the folder's."""
    data = report.config.get("data", {})
    path = data.get("path")
    return Path(path).name if path else str(data.get("source", "unknown"))


def plain(value: object) -> str:
    """A user's text within Markdown: what would be read as markup or HTML is shown as it is."""
    line = re.sub(r"\s+", " ", str(value))
    return re.sub(r"([\\`*_{}\[\]<>#|&~$])", r"\\\1", line)


def code(value: object) -> str:
    """A name as code; a backtick would end it."""
    return f"`{str(value).replace('`', chr(39))}`"


def _model_lines(report: Report) -> list[str]:
    """The models and their parameters, as configured."""
    config = report.config
    lines = []
    for role in ("teacher", "student"):
        model = config.get(role, {})
        given = model.get("parameters", {})
        parameters = ", ".join(f"{key}={value}" for key, value in given.items())
        if role == "teacher" and report.teacher_origin:
            lines.append(f"teacher: {plain(report.teacher_origin)}")
        elif "model" in model:
            count = typeset(getattr(report, role).parameters, "count")
            builder = code(f"{model['model']}({parameters})")
            lines.append(f"{role}: {builder}, {count} parameters")
    more = [TeacherSettings.model_validate(each).name for each in config.get("more_teachers", [])]
    if more:
        lines.append(f"additional teachers: {', '.join(map(plain, more))}")
    return lines


def _distilled(report: Report) -> dict[str, Any]:
    distill = report.config.get("distill", {})
    names = [plain(method.get("name", "?")) for method in distill.get("methods", [])]
    return {
        "alpha": distill.get("alpha"),
        "temperature": distill.get("temperature"),
        "methods": names,
    }


def _limitations(report: Report) -> Iterator[str]:
    """What the report itself says against the student, or cannot say for it."""
    yield f"It was judged only on the {report.examples.eval:,} examples of the eval split."
    for check in report.gate.checks:
        if check.verdict != "passed":
            yield f"{check.verdict.capitalize()}: {code(check.name)}: {plain(check.reason)}."
    # Of labels F1 counts, since being right about what is rarely there is easy.
    key, kind = ("f1", "labels") if report.task == "multilabel" else ("accuracy", "classes")
    scored = [(getattr(each.student, key), each) for each in report.per_class]
    known = [(value, each) for value, each in scored if value is not None and value < 1]
    weakest = sorted(known, key=lambda each: each[0])[:WEAKEST]
    if weakest:
        named = (
            f"{plain(each.label)} ({typeset(value, 'share')} of {each.count:,})"
            for value, each in weakest
        )
        yield f"Its weakest {kind}{' by F1' if key == 'f1' else ''}: {', '.join(named)}."
    shown = presentation(report.task)
    changed = [each for each in report.slices if shown.loss_of(each.student) > 0]
    changed.sort(key=lambda each: -shown.loss_of(each.student))
    changes = [(each, shown.change(each.student)) for each in changed[:WEAKEST]]
    if changes:
        named = (
            f"{plain(slice_name(each.slice))} ({typeset(change.value, shown.change_form)}"
            f"{interval_text(change.interval, shown.change_form)})"
            for each, change in changes
            if change is not None
        )
        yield f"Its {shown.main.title} is furthest from its teacher's on {'; '.join(named)}."
    if report.data and report.data.anomalies:
        found = "; ".join(plain(each) for each in report.data.anomalies)
        yield f"The data had anomalies: {found}."


def _features(report: Report) -> list[str]:
    """Names of the raw features, as far as the statistics tell; as code."""
    splits = report.data.splits.values() if report.data else ()
    names = dict.fromkeys(feature.name for split in splits for feature in split.features)
    return [code(name) for name in names if name not in _NOT_INPUTS]
