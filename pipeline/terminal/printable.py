"""What is printed: names of classes and files come from outside, and may command a terminal."""

from __future__ import annotations

import logging
from typing import Any

import click

from modules.errors import printable


def echo(text: Any = "", err: bool = False, nl: bool = True) -> None:
    """Print a line, or a text that ends with one."""
    click.echo(printable(str(text)), err=err, nl=nl)


class PrintableFormatter(logging.Formatter):
    """Messages for a log file, which people show in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, its traceback included."""
        return printable(super().format(record))
