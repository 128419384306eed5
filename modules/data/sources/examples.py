"""The Examples artifact of another TFX pipeline."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modules.data.sources.file_source import join
from modules.data.sources.protocol import Files, Part, Prepared, Summarize
from modules.data.sources.tfrecord import TFRecordFiles
from modules.data.splits import EVAL, TRAIN, UNLABELED
from modules.errors import ConfigError
from modules.settings import DataSettings

# Written by our ExampleGen.
CLASS_NAME = "class_name"


class Examples(TFRecordFiles):
    """The directory of an artifact, with a folder `Split-<name>` for each split.

    Splits that are called train and eval stay as they are; others are split anew.
    """

    @classmethod
    def check(cls, settings: DataSettings) -> None:
        """Requires the directory, or where it is recorded."""
        if settings.produced_by:
            if settings.path:
                raise ConfigError(
                    "data.path and data.produced_by are two ways to name the examples; remove one "
                    "of them"
                )
            return
        super().check(settings)
        if settings.splits or re.search(r"[*?\[{]", str(settings.path)):
            got = f"data.splits {settings.splits}" if settings.splits else repr(settings.path)
            raise ConfigError(
                "data.path must be the directory of one Examples artifact when data.source is "
                f"examples, got {got}; use the source tfrecord for patterns and splits"
            )

    @classmethod
    def _files(cls, settings: DataSettings) -> Files:
        """All splits together; whether to keep them is decided when they are seen."""
        found = super()._files(settings)
        unlabeled = tuple(part for part in found.parts if part.name == UNLABELED)
        return Files(str(settings.path).rstrip("/"), (Part("all", "Split-*/*"), *unlabeled))

    @classmethod
    def prepare(
        cls, settings: DataSettings, parts: Sequence[Part], summarize: Summarize
    ) -> Prepared:
        """A part for each split if there are train and eval, and perhaps unlabeled."""
        first, *more = parts
        names = {path.rsplit("/", 2)[1].removeprefix("Split-") for path in cls.matching(first)}
        anew = settings.time or settings.group
        if {TRAIN, EVAL} <= names <= {TRAIN, EVAL, UNLABELED} and not anew:
            base = first.pattern.removesuffix("Split-*/*")
            kept = [Part(name, join(base, f"Split-{name}/*")) for name in sorted(names)]
        else:
            kept = [first]
        return Prepared([*kept, *more], label=_label(cls.matching(first)[0]))


def _label(path: str) -> str:
    """Ours have the names of classes, which say more than their ids."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(path, "GZIP" if path.endswith(".gz") else "")
    for record in records.take(1).as_numpy_iterator():
        if CLASS_NAME in tf.train.Example.FromString(record).features.feature:
            return CLASS_NAME
    return "label"
