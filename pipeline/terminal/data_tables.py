"""What a person sees of their data: features, classes, splits, and a configuration of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from tabulate import tabulate

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import Dataset, DataSpec
from modules.settings import FeatureSettings

_MOST_ROWS = 30
_LONGEST = 60


def data_tables(
    dataset: Dataset, spec: DataSpec, statistics: Mapping[str, FeatureStatistics]
) -> str:
    """Features, classes and splits of what the pipeline would see."""
    parts = [_features(spec, statistics), _classes(dataset), _splits(dataset)]
    return "\n\n".join(part for part in parts if part)


def configuration(
    name: str,
    data: Mapping[str, Any],
    features: Mapping[str, FeatureSettings],
    models: Mapping[str, Any],
    augment: Mapping[str, Any],
    gate: Mapping[str, Any],
    found: tuple[Dataset, DataSpec, Mapping[str, FeatureStatistics]],
) -> str:
    """A commented YAML file that runs."""
    dataset, spec, statistics = found
    count = dataset.examples
    lines = [
        f"# {name}: {_what(dataset)}, {count.get('train', 0):,} examples to learn from and "
        f"{count.get('eval', 0):,} to judge on.",
        "#",
        "# All keys: tfx-distill settings. What the pipeline sees: tfx-distill inspect THIS_FILE.",
        f"name: {name}",
    ]
    if spec.output.task != "classification":
        lines.append(f"task: {spec.output.task}")
    lines += ["data:", *_entries({k: v for k, v in data.items() if k != "features"}, 2)]
    lines.append("  features:")
    for feature, settings in features.items():
        values = settings.model_dump(mode="json", exclude_defaults=True)
        entry = _inline({"kind": settings.kind, **values})
        about = "" if settings.kind == "image" else f"  # {_about(statistics[feature])}"
        lines.append(f"    {_key(feature)}: {entry}{about}")
    unused = [each for each in sorted(statistics) if _is_unused(each, data, spec)]
    if unused:
        lines.append(f"  # Not used: {', '.join(unused)}.")
    more = models.get("more_teachers", ())
    anchor = " &teacher" if models["teacher"] in more else ""
    for role, mark, why in (
        ("teacher", anchor, "large and accurate; docs/models.md has others"),
        ("student", "", "small and fast, taught by the teacher"),
    ):
        lines += [f"{role}:{mark}  # {why}", *_entries(models[role], 2)]
    if more:
        lines.append("more_teachers:  # the student learns from the mean of all")
        lines += [f"  - {_teacher(each, models['teacher'])}" for each in more]
    if augment:
        lines += ["augment:  # random shifts of training images", *_entries(augment, 2)]
    lines += [
        "distill:",
        "  # Weight of the hard labels. Validation data choose it, with 1, the labels alone, among",
        "  # the candidates; docs/search.md.",
        "  alpha: auto",
        "  temperature: 4.0",
        *(
            ["  # How many shifts of an image the teacher answers.", "  views: 4"]
            if augment
            else []
        ),
        "gate:",
        f"  # Limits that {count.get('eval', 0):,} eval examples can decide; tighten them as your "
        "data grow.",
        *_entries(gate, 2),
    ]
    return "\n".join(lines) + "\n"


def _teacher(more: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    return "*teacher  # alike, from other first weights" if more == first else _inline(more)


def _features(spec: DataSpec, statistics: Mapping[str, FeatureStatistics]) -> str:
    rows = []
    for each in spec.inputs:
        shape = "x".join(map(str, each.shape)) or "1"
        size = f", {each.vocabulary_size:,} ids" if each.vocabulary_size else ""
        known = each.feature in statistics and each.kind != "image"
        about = _about(statistics[each.feature]) if known else ""
        rows.append((each.name, each.kind, f"{each.dtype} {shape}{size}", about))
    shown = tabulate(rows[:_MOST_ROWS], ("input", "kind", "what models take", "in train"))
    more = len(rows) - _MOST_ROWS
    return f"{shown}\n… and {more} more" if more > 0 else shown


def _classes(dataset: Dataset) -> str:
    output = dataset.output
    if output.task == "regression":
        return f"value to predict: mean {output.mean:g}, standard deviation {output.deviation:g}"
    train, judged = (dataset.class_counts.get(split, {}) for split in ("train", "eval"))
    total = max(sum(train.values()), 1)
    rows = [
        (name, train.get(name, 0), judged.get(name, 0), f"{train.get(name, 0) / total:.1%}")
        for name in output.classes
    ]
    head = ("label" if output.task == "multilabel" else "class", "train", "eval", "share")
    shown = tabulate(rows[:_MOST_ROWS], head, disable_numparse=True)
    more = len(rows) - _MOST_ROWS
    return f"{shown}\n… and {more} more" if more > 0 else shown


def _splits(dataset: Dataset) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(dataset.examples.items()))
    return f"task {dataset.output.task}; examples: {counts}"


def _about(found: FeatureStatistics) -> str:
    """A few words on what is in a feature."""
    missing = f", {found.missing / max(found.examples, 1):.1%} missing" if found.missing else ""
    if found.type != "string":
        return f"{found.minimum:g} to {found.maximum:g}{missing}"
    common = _short(", ".join(found.common[:3]))
    return f"{found.unique:,} values{missing}" + (f": {common}" if common else "")


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _LONGEST else one_line[: _LONGEST - 1] + "…"


def _what(dataset: Dataset) -> str:
    output = dataset.output
    if output.task == "regression":
        return "a value to predict"
    return f"{len(output.classes)} {'labels' if output.task == 'multilabel' else 'classes'}"


def _is_unused(name: str, data: Mapping[str, Any], spec: DataSpec) -> bool:
    ours = ("label", "class_name", "example_id", "example_weight")
    return name not in spec.features and name not in (*ours, data.get("label"))


def _entries(values: Mapping[str, Any], indent: int) -> Sequence[str]:
    return [f"{' ' * indent}{_key(name)}: {_inline(value)}" for name, value in values.items()]


def _key(name: str) -> str:
    return _inline(name)


def _inline(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
