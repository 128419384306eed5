"""Text for a terminal: names of classes and files come from outside, and may hold its commands."""

from __future__ import annotations

import logging
from typing import Any

import click


def printable(text: str) -> str:
    """The text with control characters (but line breaks and tabs) written as escapes."""
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def echo(text: Any = "", err: bool = False, nl: bool = True) -> None:
    """Print a line, or a text that ends with one."""
    click.echo(printable(str(text)), err=err, nl=nl)


class PrintableFormatter(logging.Formatter):
    """Messages for a log file, which people show in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, its traceback included."""
        return printable(super().format(record))
