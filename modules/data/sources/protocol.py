"""The protocol of a source: it finds the data, and reads them as rows of plain values.

A source does not interpret: names, label, id, splits are the same for all of them, see
`modules.data.raw_examples`. Nothing heavy is imported before `rows` is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from modules.data.spec import Kind
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam

# Runs a transform from a Beam pipeline to a single element, and returns the element.
Summarize = Callable[["beam.PTransform"], Any]


@dataclass(frozen=True)
class Part:
    """Some files of a source.

    Attributes:
      name: `all`, or the user's own split `train`, `eval` or `unlabeled`.
      pattern: Of the files, below the base or absolute; a query of `bigquery`.
    """

    name: str
    pattern: str


@dataclass(frozen=True)
class Files:
    """The files that TFX watches for changes.

    Attributes:
      base: The directory.
      parts: What is read; TFX fills in `{SPAN}` and `{VERSION}`.
    """

    base: str
    parts: tuple[Part, ...]


class Row(NamedTuple):
    """One raw example, or what is wrong with it.

    Attributes:
      name: Finds it for the user, such as `data.csv:17`; "" where a reader does not say.
      features: See `modules.data.values`; whoever gets the row may change them.
      split: Where the source itself has splits: the example's.
      problem: Why there is no example.
    """

    name: str
    features: dict[str, Any] = {}  # noqa: RUF012
    split: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Prepared:
    """What is known before reading.

    Attributes:
      parts: To read, each by itself.
      state: For `rows`, whatever the source needs.
      label: The feature to predict, unless `data.label` names another.
    """

    parts: Sequence[Part]
    state: Any = None
    label: str = "label"


class Source(Protocol):
    """A way to read data.

    Attributes:
      content: The feature that alone makes an example what it is; None: all features.
      kinds: Of features that are known beforehand.
    """

    content: ClassVar[str | None]
    kinds: ClassVar[dict[str, Kind]]

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Refuses settings that the source cannot use, without looking at any data.

        Called whenever a configuration is validated, so nothing heavy may be imported.

        Raises:
          ConfigError: Naming the key.
        """

    @staticmethod
    def look(settings: DataSettings) -> tuple[str, ...] | None:
        """Names of the features, if a glance at the data shows them; None if it does not.

        Raises:
          ConfigError: `data.path` cannot be used.
          DataError: What is there cannot be used.
        """

    @staticmethod
    def files(settings: DataSettings) -> Files | None:
        """The files to watch; None if the source needs none."""

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """What the examples depend on besides what TFX sees of the files.

        TFX watches number, size and whole seconds of the times, but no name and no place.
        """

    @staticmethod
    def prepare(settings: DataSettings, parts: Sequence[Part], summarize: Summarize) -> Prepared:
        """Looks at all the data before any of it is read.

        Raises:
          DataError: No file matches, or what is there cannot be used.
        """

    @staticmethod
    def rows(settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """From a Beam pipeline to a collection of lists of `Row`; `part.pattern` is absolute.

        A list is in memory as a whole: one row where rows may be large.

        Raises:
          DataError: What is there cannot be used.
        """
