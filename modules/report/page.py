"""index.html: the whole report on one page that needs nothing but itself.

No script, no request: charts are inline SVG, images are data URIs. Every number on the page is
one of report.json; `data-number` has its dotted name there, `data-scale` what its unit stands
for, so that the two can be compared.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from modules.judge.estimates import value_at
from modules.judge.formats import Shown, show, slice_name, typeset
from modules.judge.schema import (
    ClassNumbers,
    ConfusionCell,
    Entry,
    Numbers,
    Report,
    Speedup,
)
from modules.report import charts
from modules.report.search_charts import search_trade_off
from modules.report.tasks import Column, presentation, top_ks
from modules.report.text import day, essence, runtime_name, verdict_word

IMAGES_BYTES = 4_000_000  # of data URIs; the disagreements beyond are listed without an image
TINY_PIXELS = 96  # an image not wider is enlarged with sharp pixels
FREQUENT_CONFUSIONS = 12
_TEMPLATES = Path(__file__).parent / "templates"
_NONE = Markup('<span class="none">\N{EN DASH}</span>')

_Key = str | int | list[str | int]


def render(report: Report, images: Mapping[str, bytes]) -> str:
    """The page, as HTML.

    Args:
      report: what it shows.
      images: PNG bytes by `example_id` for the report's disagreements; some may be missing.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        # Names of classes and files are the user's.
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    numbers = _Numbers(report)
    return environment.get_template("report.html.j2").render(
        report=report,
        css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        n=numbers.number,
        interval=numbers.interval,
        label=lambda at: _label(report, at),
        shown=presentation(report.task),
        numbers_of=_only_known,
        answer=lambda value: _answer(report, value),
        slice_name=slice_name,
        smallest=lambda numbers: min(numbers, key=numbers.get),
        day=day,
        runtime_name=runtime_name,
        way_name=_way_name,
        word=verdict_word(report.gate),
        essence=essence(report),
        models=report.models,
        config=yaml.safe_dump(report.config, sort_keys=False, allow_unicode=True),
        images=_data_uris(report, images),
        **_arranged(report),
        **_charts(report),
    )


class _Numbers:
    """Numbers of the report, as HTML, by the keys that lead to them; a key may be a list of keys.

    `form` as in `show`.
    """

    def __init__(self, report: Report) -> None:
        self._report = report

    def number(self, form: str, *path: _Key) -> Markup:
        """A number with its unit; a dash where there is none."""
        keys = _flat(path)
        value = value_at(self._report, *keys)
        if value is None:
            return _NONE
        shown = show(value, form).typeset()
        return Markup('<span class="number">{}{}</span>').format(_digits(shown, keys), shown.unit)

    def interval(self, form: str, *path: _Key) -> Markup:
        """An interval `[low, high]`, or low and high of a part; nothing where there is none."""
        keys = _flat(path)
        part = value_at(self._report, *keys)
        ends: tuple[str | int, str | int] = ("low", "high")
        if isinstance(part, tuple):
            ends = (0, 1)
        elif isinstance(part, Speedup):
            ends = ("ci_low", "ci_high")
        values = [value_at(part, end) for end in ends]
        if None in values:
            return Markup("")
        # Without the unit, which the number before them has.
        low, high = (
            _digits(show(value, form).typeset(), [*keys, end])
            for end, value in zip(ends, values, strict=True)
        )
        return Markup('<span class="interval">[{}, {}]</span>').format(low, high)


def _digits(shown: Shown, keys: Sequence[str | int]) -> Markup:
    return Markup('<span data-number="{}" data-scale="{:g}">{}</span>').format(
        ".".join(map(str, keys)), shown.scale, shown.digits
    )


def _flat(path: tuple[_Key, ...]) -> list[str | int]:
    keys: list[str | int] = []
    for key in path:
        keys.extend(key) if isinstance(key, list) else keys.append(key)
    return keys


def _arranged(report: Report) -> dict[str, Any]:
    """Parts of the report in the order in which the page shows them."""
    models = report.models
    roles = [role for role in ("teacher", "student", "control") if role in models]
    return {
        "paths": {name: [name] if name in roles else ["variants", name] for name in models},
        "top_k": top_ks(list(models.values())),
        "ways": list(dict.fromkeys(way for each in models.values() for way in each.latencies)),
        "fresh": {name: _deployed(entry) for name, entry in models.items()},
        "slices": sorted(
            enumerate(report.slices),
            key=lambda each: -presentation(report.task).loss_of(each[1].student),
        ),
        "confusions": {role: list(_frequent(report, role)) for role in report.confusion},
        "class_names": list(
            dict.fromkeys(
                name
                for split in (report.data.splits if report.data else {}).values()
                for name in split.classes
            )
        ),
    }


def _way_name(way: str) -> str:
    runtime, _, batch = way.rpartition("_batch_")
    return f"{runtime_name(runtime)}, " + (
        "single examples" if batch == "1" else f"batches of {batch}"
    )


def _deployed(entry: Entry) -> str | None:
    """The runtime whose fresh process the table of costs shows: what a device would run."""
    return "litert" if "litert" in entry.fresh else next(iter(entry.fresh), None)


def _only_known(columns: Sequence[Column], parts: Sequence[Numbers | ClassNumbers]) -> list[Column]:
    """The columns for which at least one part has a number."""
    return [
        each for each in columns if any(getattr(part, each.key, None) is not None for part in parts)
    ]


def _answer(report: Report, value: Any) -> str:
    """A class, the labels that are there, or a value, in words."""
    if isinstance(value, list):
        return ", ".join(_label(report, each) for each in value) or "none"
    if report.task == "regression":
        return typeset(value, "value")
    return _label(report, value)


def _label(report: Report, at: int) -> str:
    return report.labels[at] if at < len(report.labels) else str(at)


def _frequent(report: Report, role: str) -> Iterator[tuple[int, ConfusionCell]]:
    """The most frequent wrong answers, with their places in the report."""
    wrong = [
        (at, cell) for at, cell in enumerate(report.confusion[role]) if cell.label != cell.predicted
    ]
    yield from sorted(wrong, key=lambda each: -each[1].count)[:FREQUENT_CONFUSIONS]


def _data_uris(report: Report, images: Mapping[str, bytes]) -> dict[str, tuple[str, bool]]:
    """The images as data URIs, and whether each is so small that its pixels are to be seen."""
    uris: dict[str, tuple[str, bool]] = {}
    left = IMAGES_BYTES
    for each in report.disagreements:
        if each.example_id in images:
            encoded = base64.b64encode(images[each.example_id]).decode("ascii")
            left -= len(encoded)
            if left < 0:
                break
            # A PNG file has its width, in big-endian order, behind the name of its first chunk.
            tiny = int.from_bytes(images[each.example_id][16:20], "big") <= TINY_PIXELS
            uris[each.example_id] = (f"data:image/png;base64,{encoded}", tiny)
    return uris


def _charts(report: Report) -> dict[str, Any]:
    """SVG by what it shows; None where the report has no data for it."""
    ways = dict.fromkeys(way for each in report.models.values() for way in each.latencies)
    return {
        "trade_offs": [charts.trade_off(report, "latency"), charts.trade_off(report, "size")],
        "timing_charts": {
            way: [charts.latency_distribution(report, way), charts.speedups(report, way)]
            for way in ways
        },
        "search_charts": [search_trade_off(report, cost) for cost in ("latency", "size")],
        "main_changes": [charts.main_changes(report)],
        "ranking_charts": [
            charts.answer_curve(report, "roc"),
            charts.answer_curve(report, "precision_recall"),
        ],
        "value_charts": [
            draw(report, role)
            for role in report.answer_curves
            for draw in (charts.predicted_values, charts.residuals)
        ],
        "confusion_charts": [charts.confusion(report, role) for role in report.confusion],
        "reliability_charts": [charts.reliability(report, name) for name in report.models],
        "curve_charts": {
            role: [
                charts.curve(report, role, metric) for metric in charts.curve_metrics(report, role)
            ]
            for role in report.curves
        },
    }
