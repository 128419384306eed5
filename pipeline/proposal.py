"""What `tfx-distill init` proposes for data that it has never seen: source, label, models, gate."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.data.features.protocol import FeatureStatistics
from modules.data.images import IMAGE_SUFFIXES
from modules.data.sources.registry import SOURCES
from modules.data.spec import Dataset, DataSpec
from modules.errors import ConfigError, DataError, did_you_mean
from modules.models.zoo import AT_ONCE
from modules.settings import DataSettings, FeatureSettings, NumericFeature

# What people call the feature to predict, the most certain names first.
_LABELS = ("label", "labels", "target", "class", "class_name", "y", "outcome", "species")
_SUFFIXES = {"csv": "*.csv", "parquet": "*.parquet", "tfrecord": "*tfrecord*"}
# On so many examples a change of accuracy was uncertain by 0.017.
_TABLE = {"numeric", "category", "tensor"}
# Of so few rows a forest makes more than a network, but not of values; see docs/decisions.md.
_FEW_ROWS = 2_000
# Of such a number most values lie close together, so that a network hardly sees them apart.
_WIDE = 10
# Fewer steps left students and teachers of a hundred labels far from what they can learn.
_STEPS, _MOST_EPOCHS = 4_000, 300
# With a tenth of a hundred labels held out, nothing could be chosen by them. Of so few texts a
# linear model makes more than a network; docs/decisions.md.
_FEW_LABELS, _HELD_OUT_OF_FEW = 500, 0.2
# Shifts by so large a part of the side brought a teacher of 100 labels from 54 to 85 %.
_SHIFT, _MANY_IMAGES = 0.1, 2_000
_UNCERTAINTY = 0.017 * math.sqrt(368)


@dataclass(frozen=True)
class Proposal:
    """The data section of a configuration, and what to say about it.

    Attributes:
      name: Of the pipeline.
      data: The section.
      notes: One line for each guess.
    """

    name: str
    data: dict[str, Any]
    notes: tuple[str, ...] = ()


def propose_data(path: str, label: str | None) -> Proposal:
    """Look at names and headers alone.

    Args:
      path: A file or a directory here.
      label: The feature to predict, if the user has named it.

    Raises:
      ConfigError: Nothing that can be read is there.
    """
    where = Path(path).expanduser()
    if not where.exists():
        raise ConfigError(f"PATH must be a file or directory, but there is no {path!r}; correct it")
    name = re.sub(r"[^a-z0-9]+", "-", where.resolve().stem.lower()).strip("-") or "mine"
    source = _source(where)
    data: dict[str, Any] = {"source": source, "path": str(where)}
    if source == "image_folder":
        if label:
            raise ConfigError(
                f"--label must not be given for a folder of images, got {label!r}; the names of "
                "the sub-folders are the classes"
            )
        return Proposal(name, data)
    columns = _columns(source, where)
    if label and columns and label not in columns:
        raise ConfigError(
            f"--label: there is no {label!r}{did_you_mean(label, columns)}; there are "
            f"{', '.join(columns)}"
        )
    guessed, how = (label, "") if label else _label(columns)
    if guessed:
        data["label"] = guessed
    return Proposal(name, data, (how,) if how else ())


def propose_validation(dataset: Dataset) -> dict[str, float]:
    """More of section `data`: a larger validation part where labels are few."""
    few = dataset.examples.get("train", 0) < _FEW_LABELS
    return {"validation_fraction": _HELD_OUT_OF_FEW} if few else {}


def propose_features(
    spec: DataSpec, statistics: Mapping[str, FeatureStatistics]
) -> dict[str, FeatureSettings]:
    """`data.features`: the logarithm of numbers that span orders of magnitude."""
    return {
        name: settings.model_copy(update={"scale": "log"})
        if isinstance(settings, NumericFeature) and _is_wide(statistics[name])
        else settings
        for name, settings in spec.features.items()
    }


def _is_wide(found: FeatureStatistics) -> bool:
    """Whether the largest value is many times the median; below 1 the logarithm does nothing."""
    if found.minimum < 0 or not found.quantiles:
        return False
    median = found.quantiles[len(found.quantiles) // 2]
    return found.maximum >= _WIDE * max(median, 1)


def propose_models(spec: DataSpec, dataset: Dataset) -> dict[str, Any]:
    """Sections of models that fit the inputs and the number of examples.

    Returns:
      `teacher` and `student`, and `more_teachers` where several know more than one.
    """
    kinds = {each.kind for each in spec.inputs}
    labeled = dataset.examples.get("train", 0)
    shown = labeled + dataset.examples.get("unlabeled", 0)
    if kinds == {"image"} and len(spec.inputs) == 1:
        teacher, student = _image_models(spec.inputs[0].shape)
    elif kinds == {"text"} and len(spec.inputs) == 1:
        teacher = {
            "model": "text_cnn",
            "parameters": {"width": 64, "filters": 128, "kernels": [1, 2, 3], "dropout": 0.5},
        }
        if _has_linear_teacher(spec, dataset):
            teacher = {"model": "text_linear"}
        student = {
            "model": "text_cnn",
            "parameters": {"width": 16, "filters": 32, "kernels": [1, 2, 3]},
        }
    elif kinds <= _TABLE:
        few = labeled < _FEW_ROWS and spec.output.task != "regression"
        teacher = {"model": "random_forest" if few else "resnet_tabular"}
        student = {"model": "mlp", "parameters": {"units": [32, 16]}}
    else:
        large: dict[str, Any] = {"table_units": [64], "units": [128]}
        small: dict[str, Any] = {"table_units": [16], "units": [32]}
        if "text" in kinds:
            small["text"] = {"width": 8, "filters": 8, "kernels": [1, 2]}
        if "image" in kinds:
            large["image"] = {"filters": [32, 64, 128]}
            small["image"] = {"filters": [8, 16, 32]}
        teacher = {"model": "mixture", "parameters": large}
        student = {"model": "mixture", "parameters": small}
    # A small network learns faster; what the presets were tuned to.
    rate = 0.003 if "text" in kinds else 0.01
    if teacher["model"] not in AT_ONCE:
        teacher["train"] = _training(labeled)
    if teacher["model"] == "resnet_small":
        # As in the presets; docs/decisions.md has what it brought where labels are few.
        teacher["train"]["learning_rate"] = 0.003
        if labeled < _FEW_LABELS:
            teacher["parameters"] |= {"blocks": 1, "dropout": 0.5}
            teacher["train"]["weight_decay"] = 0.3
    models: dict[str, Any] = {
        "teacher": teacher,
        "student": {**student, "train": {**_training(shown), "learning_rate": rate}},
    }
    is_few = labeled < _FEW_LABELS and spec.output.task != "regression"
    if teacher["model"] == "resnet_small" and is_few:
        # By other seeds, and one that knows of edges without having seen any, with half of the say:
        # networks of few images are sure even where they are wrong; docs/decisions.md.
        edges = {"model": "image_linear", "weight": 3.0}
        models["more_teachers"] = [teacher, teacher, edges]
    return models


def _has_linear_teacher(spec: DataSpec, dataset: Dataset) -> bool:
    is_few = dataset.examples.get("train", 0) < _FEW_LABELS
    is_text = [each.kind for each in spec.inputs] == ["text"]
    return is_few and is_text and spec.output.task != "regression"


def propose_augmentation(spec: DataSpec, dataset: Dataset) -> dict[str, int]:
    """Section `augment`: images are shifted where a teacher would learn a few of them by heart."""
    sides = [min(each.shape[:2]) for each in spec.inputs if each.kind == "image"]
    if not sides or dataset.examples.get("train", 0) >= _MANY_IMAGES:
        return {}
    return {"pad_crop": max(1, round(_SHIFT * min(sides)))}


def propose_gate(spec: DataSpec, dataset: Dataset) -> dict[str, Any]:
    """Limits that so many eval examples can decide.

    A limit is judged on the bound of an interval: one that is closer than twice its uncertainty
    would refuse students that are as good as their teacher.
    """
    count = max(dataset.examples.get("eval", 0), 1)
    # On a table even a teacher answers in some hundredths of a millisecond, most of which is the
    # interpreter's own, so that nothing could be decided. A linear teacher is as fast as can be.
    is_table = {each.kind for each in spec.inputs} <= _TABLE
    speed = {} if is_table or _has_linear_teacher(spec, dataset) else {"min_speedup": 1.2}
    if spec.output.task == "regression":
        increase = math.ceil(20 * (0.05 + 2 / math.sqrt(count))) / 20
        return {"max_rmse_increase": increase, **speed}
    drop = _decidable_drop(count)
    return {
        **_better_than_always_the_same(dataset),
        "max_accuracy_drop": drop,
        "max_tflite_accuracy_drop": drop,
        **speed,
    }


def _decidable_drop(count: int) -> float:
    """The accuracy that a student may lose, so that one like its teacher keeps the limit.

    Of 13 examples even two models of equal answers may differ by 0.23. So the limit is not below
    the bound for a student that answers one example better and another one worse.
    """
    # Loads numpy, for which the rest of the command line need not wait.
    from modules.measure.intervals import paired_shares

    _, bound = paired_shares(1 / count, 1 / count, count, 0.95) if count > 1 else (0.0, 1.0)
    usual = 0.01 + 2 * _UNCERTAINTY / math.sqrt(count)
    return min(math.ceil(200 * max(usual, bound)) / 200, 1.0)


def _better_than_always_the_same(dataset: Dataset) -> dict[str, float]:
    """A student that is as good as a useless teacher is useless, too.

    Where more than half of the examples are of one class, accuracy is no measure of that.
    """
    counts = dataset.class_counts.get("eval", {})
    share = max(counts.values(), default=0) / max(sum(counts.values()), 1)
    return {"min_accuracy": math.ceil(20 * share) / 20} if 0 < share <= 0.5 else {}


def _source(where: Path) -> str:
    if where.is_dir():
        if any(where.glob("Split-*")):
            return "examples"
        found = [name for name, pattern in _SUFFIXES.items() if any(where.glob(pattern))]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise ConfigError(
                f"PATH must hold files of one format, but {str(where)!r} has {', '.join(found)}; "
                "name a file or another directory"
            )
        if _has_images(where):
            return "image_folder"
        raise ConfigError(
            f"PATH must hold CSV, Parquet or TFRecord files, or sub-folders of images, but "
            f"{str(where)!r} has none of them; name the directory that does"
        )
    for name, pattern in _SUFFIXES.items():
        if where.match(pattern) or where.match(f"{pattern}.gz"):
            return name
    raise ConfigError(
        f"PATH must be a CSV, Parquet or TFRecord file, or a directory of images, got "
        f"{str(where)!r}; convert it (pandas reads most formats and writes CSV), or rename it if "
        "it is one"
    )


def _has_images(where: Path) -> bool:
    return any(
        name.lower().endswith(IMAGE_SUFFIXES) for _, _, names in os.walk(where) for name in names
    )


def _columns(source: str, where: Path) -> list[str]:
    """Names of the features, as far as the first file shows them."""
    if source == "examples":
        return []
    if source == "tfrecord":
        return _features_of_first(where if where.is_file() else sorted(where.glob("*tfrecord*"))[0])
    return list(SOURCES[source].look(DataSettings(source=source, path=str(where))) or ())


def _features_of_first(file: Path) -> list[str]:
    import tensorflow as tf

    records = tf.data.TFRecordDataset(str(file), "GZIP" if file.suffix == ".gz" else "")
    try:
        for record in records.take(1).as_numpy_iterator():
            return sorted(tf.train.Example.FromString(record).features.feature)
    except (tf.errors.DataLossError, ValueError) as error:
        raise DataError(
            f"{file}: must be a TFRecord file of tf.train.Examples, but its first record cannot be "
            "read; fix or remove it"
        ) from error
    return []


def _label(columns: Sequence[str]) -> tuple[str | None, str]:
    """The feature to predict, and how it was found."""
    if not columns:
        return None, ""
    lower = {name.lower().rpartition("/")[2]: name for name in reversed(columns)}
    for name in _LABELS:
        if name in lower:
            return lower[name], f"label: {lower[name]!r}, by its name"
    return columns[-1], f"label: {columns[-1]!r}, the last column; another one with --label"


def _training(count: int) -> dict[str, Any]:
    """Epochs, patience and batch size to learn from so many examples.

    What counts are the steps: of few examples an epoch has few of them, so there are more epochs.
    """
    batch_size = 32 if count < 2_000 else 64 if count < 20_000 else 256
    fewest = 30 if count < 20_000 else 10 if count < 200_000 else 3
    epochs = max(fewest, min(_STEPS * batch_size // max(count, 1), _MOST_EPOCHS))
    return {"epochs": epochs, "patience": max(3, epochs // 3), "batch_size": batch_size}


def _image_models(shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    side = min(shape[:2])
    # The student's first convolution halves from 64 pixels on; its stages end at about 4x4.
    stages = max(1, round(math.log2(max(side // (2 if side >= 64 else 1), 8) / 4)))
    filters = [min(16 * 2**stage, 128) for stage in range(stages + 1)]
    widths = [32 * 2**stage for stage in range(min(max(stages, 2), 4))]
    teacher = {"model": "resnet_small", "parameters": {"widths": widths, "blocks": 2}}
    return teacher, {"model": "separable_cnn", "parameters": {"filters": filters}}
