"""From settings and statistics to the specification of the models' inputs."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from modules.data.features.protocol import FeatureStatistics
from modules.data.features.registry import KINDS
from modules.data.spec import OURS, Dataset, DataSpec, InputSpec, Kind
from modules.errors import ConfigError, DataError, did_you_mean
from modules.settings import (
    CategoryFeature,
    DataSettings,
    FeatureSettings,
    ImageFeature,
    NumericFeature,
    TextFeature,
)

_LOG = logging.getLogger("tfx_distill.data")
# Texts of this many bytes on average, most of them different, are sentences rather than names.
_TEXT_BYTES = 20
# A word and what parts it from the next, in most languages with an alphabet.
_WORD_BYTES, _LONGEST_TEXT = 6, 512
_MOSTLY_DIFFERENT = 0.5
# Texts of which nearly all differ are identifiers, unless they are long.
_IDENTIFIERS = 0.9
_IDENTIFIER_NAME = re.compile(r"(^|[^A-Za-z])(?i:id|index|no|nr|number)$|[a-z]I[dD]$|^Unnamed: 0$")
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d\d)\b")


@dataclass(frozen=True)
class Feature:
    """A raw feature, how it is transformed, and the inputs that are made of it."""

    settings: FeatureSettings
    made: list[InputSpec]


def plan_features(
    data: DataSettings, dataset: Dataset, statistics: Mapping[str, FeatureStatistics]
) -> dict[str, Feature]:
    """What becomes of each raw feature, by its name.

    Args:
      data: `features` and `exclude`; what is not said is inferred, and logged.
      dataset: What ExampleGen found.
      statistics: Of the training split.

    Raises:
      ConfigError: A feature that does not exist, or no feature at all.
      DataError: A feature cannot be of the kind it is said to be, or is constant.
    """
    usable = {name: each for name, each in statistics.items() if name not in OURS}
    chosen = dict(data.features)
    for name in chosen:
        if name not in usable:
            raise ConfigError(
                f"data.features.{name}: there is no feature {name!r}{did_you_mean(name, usable)}; "
                f"the features are {', '.join(sorted(usable)) or 'none'}"
            )
        if usable[name].constant:
            raise DataError(
                f"data.features.{name} must differ between examples, but has one value in all of "
                f"the {usable[name].examples} training examples; remove it"
            )
    if not chosen:
        not_inputs = {data.id, data.group, data.time, data.weight, *data.exclude}
        chosen = {
            name: settings
            for name, each in sorted(usable.items())
            if name not in not_inputs
            and (settings := _suggested(each, *_known(dataset, name))) is not None
        }
    if not chosen:
        raise ConfigError(
            "data.features must name at least one feature, but none of "
            f"{', '.join(sorted(usable)) or 'no features'} can be used as it is; set data.features"
        )
    for name in sorted(chosen.keys() & set(dataset.leaks)):
        _LOG.warning(
            "%s determines the label in all training examples; if it is not known when the model "
            "is asked, add it to data.exclude",
            name,
        )
    plan = {}
    for name, settings in sorted(chosen.items()):
        made = KINDS[settings.kind].inputs(settings, usable[name])
        if settings.kind == "image" and dataset.kinds.get(name) != "image":
            raise DataError(
                f"data.features.{name} must be an encoded image in every example to be of kind "
                "image; set another kind or fix the examples"
            )
        plan[name] = Feature(settings, made)
    _check_names([spec.name for each in plan.values() for spec in each.made])
    return plan


def data_spec(
    plan: Mapping[str, Feature],
    data: DataSettings,
    dataset: Dataset,
    inputs: tuple[InputSpec, ...] | None = None,
) -> DataSpec:
    """The specification that the later nodes read.

    Args:
      plan: From `plan_features`.
      data: For the weights of the classes.
      dataset: What ExampleGen found.
      inputs: With the sizes of vocabularies, or those of a user's preprocessing_fn.
    """
    made = [spec for each in plan.values() for spec in each.made]
    return DataSpec(
        inputs=tuple(sorted(inputs or made, key=lambda each: each.name)),
        output=dataset.output,
        weighted=dataset.weighted,
        features={name: each.settings for name, each in plan.items()},
        class_weights=_class_weights(data, dataset),
    )


def _known(dataset: Dataset, name: str) -> tuple[Kind | None, tuple[int, int] | None]:
    return dataset.kinds.get(name), dataset.image_sizes.get(name)


def _suggested(
    found: FeatureStatistics, kind: Kind | None, size: tuple[int, int] | None
) -> FeatureSettings | None:
    """Settings that suit what was counted; None where a feature is of no use."""
    if found.constant:
        _LOG.warning("%s is not used: it is the same in all training examples", found.name)
        return None
    if kind == "image":
        if size is None:
            raise ConfigError(
                f"data.features.{found.name} must be set for images of which nothing says how "
                f"large they are; set for example data.features.{found.name}: "
                "{kind: image, size: 96}"
            )
        side, channels = size
        _LOG.info("%s: image, size %d, channels %d", found.name, side, channels)
        return ImageFeature(size=side, channels=1 if channels == 1 else 3)
    settings = _of_strings(found) if found.type == "string" else _of_numbers(found)
    if settings is not None:
        _LOG.info("%s: %s", found.name, settings.kind)
    return settings


def _of_numbers(found: FeatureStatistics) -> FeatureSettings | None:
    # Numbers that go on from row to row.
    goes_on = found.type == "integer" and found.maximum - found.minimum >= found.examples - 1
    if goes_on and found.most_values == 1 and _IDENTIFIER_NAME.search(found.name):
        _LOG.warning(
            "%s is not used: by its name and range it is an identifier; name it in data.features "
            "if it is to be",
            found.name,
        )
        return None
    if found.fewest_values != found.most_values:
        if found.type == "integer":
            return CategoryFeature(max_values=found.most_values)
        _LOG.warning(
            "%s is not used: it has %d to %d numbers in an example",
            found.name,
            found.fewest_values,
            found.most_values,
        )
        return None
    return NumericFeature()


def _of_strings(found: FeatureStatistics) -> FeatureSettings | None:
    present = max(found.examples - found.missing, 1)
    if found.most_values > 1:
        return CategoryFeature(max_values=found.most_values)
    if found.common and all(map(_DATE.match, found.common)):
        _LOG.warning(
            "%s is not used: its values are dates such as %s; data.time and data.eval_from judge "
            "on the later ones (in ISO 8601, as 2024-03-31), a number or a category of the date "
            "can be a feature of its own",
            found.name,
            found.common[0],
        )
        return None
    if found.average_length >= _TEXT_BYTES and found.unique >= _MOSTLY_DIFFERENT * present:
        return TextFeature(length=_text_length(found))
    if found.unique >= _IDENTIFIERS * present and found.unique > 2:
        _LOG.warning(
            "%s is not used: nearly all of its values differ, as an identifier's do; name it in "
            "data.features if it is to be",
            found.name,
        )
        return None
    return CategoryFeature()


def _text_length(found: FeatureStatistics) -> int:
    """Words of a text that is twice as long as the average one, in steps of 16."""
    words = 2 * found.average_length / _WORD_BYTES
    return min(_LONGEST_TEXT, 16 * max(1, math.ceil(words / 16)))


def _class_weights(data: DataSettings, dataset: Dataset) -> tuple[float, ...]:
    """In the order of the classes; on average over the training examples 1."""
    wanted, classes = data.class_weights, dataset.output.classes
    if wanted is None:
        return ()
    if dataset.output.task not in ("classification", "binary"):
        raise ConfigError(
            f"data.class_weights must not be set for the task {dataset.output.task}; remove it"
        )
    counts = dataset.class_counts["train"]
    if wanted == "auto":
        total = sum(counts.values())
        return tuple(total / (len(classes) * counts[name]) for name in classes)
    for name in wanted:
        if name not in classes:
            raise ConfigError(
                f"data.class_weights: there is no class {name!r}{did_you_mean(name, classes)}; "
                f"the classes are {', '.join(classes)}"
            )
    return tuple(wanted.get(name, 1.0) for name in classes)


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"data.features: the input {name!r} would be made twice; rename one of the "
                "features with data.rename"
            )
