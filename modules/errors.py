"""Errors that are meant for the user: one line, no traceback.

The message names the argument, the rule and the value, then says what to do.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(Exception):
    """Something the user can fix; the command line prints the message alone."""


class ConfigError(UserError):
    """The command line or the configuration is wrong (exit code 2)."""


class DataError(UserError):
    """The data cannot be used as they are (exit code 1)."""


class ModelError(UserError):
    """A model cannot be built, converted or trusted (exit code 1)."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known name nearest to it, if one is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def raise_problems(problems: Iterable[str]) -> None:
    """Raise what is wrong with a configuration, one line for each problem, if there is any.

    Raises:
      ConfigError: There is a problem.
    """
    message = "\n".join(problems)
    if message:
        raise ConfigError(message)


def shown(items: Sequence[Any] | None) -> str:
    """The first value of a feature, for a message."""
    if not items:
        return "nothing"
    first = items[0]
    if isinstance(first, bytes):
        return repr(first.decode(errors="replace"))
    return f"{first:g}" if isinstance(first, float) else str(first)


def printable(text: str) -> str:
    """The text with control characters (but line breaks and tabs) written as escapes.

    Names of classes and files come from outside, and may hold commands of a terminal.
    """
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )
