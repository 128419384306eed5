"""Errors that are meant for the user: one line, no traceback.

The message names the argument, the rule and the value, then says what to do.
"""

from __future__ import annotations

import datetime
import difflib
import re
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST_REASON = 300
_LONGEST_VALUE = 80
_BOLD = re.compile(r"\x1b\[[01]m")  # in the messages of Keras
_ROOT = Path(__file__).parent.parent
# Where code lies that is none of the user's: ours, Python's, and of the packages around us.
_OURS = tuple(f"{_ROOT / name}/" for name in ("modules", "components", "pipeline", "tfx_distill"))
_INSTALLED = "/site-packages/"
_FRAMEWORKS = re.compile(
    rf"{_INSTALLED}(absl|apache_beam|keras|numpy|tensorflow\w*|tenacity|tfx\w*|pydantic\w*)/"
)


class UserError(Exception):
    """Something the user can fix; the command line prints the message alone.

    Attributes:
      damaged: The directory of an artifact that has to be made anew, or "". Whoever knows what has
        made it says so instead of "remove it".
    """

    def __init__(self, message: str = "", damaged: str = ""):
        super().__init__(message)
        self.damaged = damaged

    def __str__(self) -> str:
        remedy = f"; remove {self.damaged} and run again" if self.damaged else ""
        return f"{self.args[0]}{remedy}"


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


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic has found wrong: where, and the rule."""
    place = ".".join(map(str, error.errors()[0]["loc"]))
    return ": ".join(filter(None, (place, first_rule(error))))


def first_rule(error: ValidationError) -> str:
    """The rule that pydantic's first problem is about, in our words."""
    problem = error.errors()[0]
    if problem["type"] == "missing":
        return "must be set"
    return re.sub(r"^\w+ should ", "must ", problem["msg"].removeprefix("Value error, "))


def shortened(value: Any) -> str:
    """A value for a message: as Python writes it, on one line; a long one is cut."""
    text = str(value) if isinstance(value, datetime.date) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def shown(items: Sequence[Any] | None) -> str:
    """The first value of a feature, for a message."""
    if not items:
        return "nothing"
    first = items[0]
    if isinstance(first, bytes):
        return repr(first.decode(errors="replace"))
    return f"{first:g}" if isinstance(first, float) else str(first)


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line, and the line of the user's code that raised it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    # A KeyError shows its only argument as Python would write it, line ends included.
    whole = len(error.args) == 1 and isinstance(error.args[0], str) and " " in error.args[0]
    text = " ".join(_BOLD.sub("", error.args[0] if whole else str(error)).split())
    reason = f"{type(error).__name__}: {text[:_LONGEST_REASON]}" if text else repr(error)
    place = _users_line(error)
    return f"{reason} ({place.filename}, line {place.lineno})" if place else reason


def _users_line(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost one; a package that the user has installed counts where there is no other."""
    standard = f"{sysconfig.get_path('stdlib')}/"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        # Names of compiled code are relative.
        if frame.filename.startswith("/")
        and not frame.filename.startswith(_OURS)
        and (_INSTALLED in frame.filename or not frame.filename.startswith(standard))
    ]
    own = [frame for frame in frames if _INSTALLED not in frame.filename]
    users = own or [frame for frame in frames if not _FRAMEWORKS.search(frame.filename)]
    return users[-1] if users else None


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
