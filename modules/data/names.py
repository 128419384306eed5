"""Holds the names in the settings to those in the data."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from modules.data.spec import LABEL, OURS
from modules.errors import DataError, did_you_mean
from modules.settings import DataSettings

_SHOWN = 20


def check_names(names: Collection[str], settings: DataSettings) -> None:
    """Refuse wrong names before the data are read, where a header or a schema shows the right ones.

    Args:
      names: Of the features in the data.
      settings: What in the data is what.

    Raises:
      DataError: Every wrong name.
    """
    # Without `data.label`, what the label is called is decided when the data are read.
    problems = [*wrong_names(names, settings, settings.label or "")]
    known = _ours(names, settings)
    asked = {f"data.features.{name}": name for name in settings.features}
    asked |= {f"data.exclude: {name!r}": name for name in settings.exclude}
    problems += [_no_feature(key, name, known) for key, name in asked.items() if name not in known]
    if problems:
        raise DataError("; ".join(problems))


def wrong_names(names: Collection[str], settings: DataSettings, label: str) -> Iterator[str]:
    """A line for each name that is not in the data, and for each in the data that is ours.

    Args:
      names: Of the features in the data.
      settings: What in the data is what.
      label: Name of the feature to predict.
    """
    for ours, theirs in settings.rename.items():
        if theirs not in names:
            yield _no_feature(f"data.rename.{ours}", theirs, names)
        elif ours in names and ours not in settings.rename.values():
            yield f"data.rename.{ours}: there is a feature of this name already; choose another"
    known = _ours(names, settings)
    asked = {"data.label": label}
    asked |= {f"data.{key}": getattr(settings, key) for key in ("id", "group", "weight", "time")}
    for key, name in asked.items():
        if name and name not in known:
            yield _no_feature(key, name, known)
    if settings.source != "examples":
        for name in sorted(set(OURS) & set(known) - {label or LABEL}):
            yield (
                f"the feature {name!r} has a name that the pipeline needs; choose another with "
                f"data.rename, for example {{my_{name}: {name}}}"
            )


def _ours(names: Collection[str], settings: DataSettings) -> list[str]:
    """The names after `data.rename`."""
    ours = {theirs: name for name, theirs in settings.rename.items()}
    return [ours.get(name, name) for name in names]


def _no_feature(key: str, name: str, known: Collection[str]) -> str:
    shown = ", ".join(sorted(known)[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
    return f"{key}: there is no feature {name!r}{did_you_mean(name, known)}; there are {shown}"
