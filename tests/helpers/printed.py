"""What a command printed, for tests of commands that speak to servers."""

from __future__ import annotations

from click.testing import Result


def answers(result: Result) -> list[list[str]]:
    """The cells of a table without its head."""
    assert (result.exit_code, result.stderr) == (0, ""), (result, result.stderr, result.exception)
    return [line.split() for line in result.stdout.splitlines()[1:]]


def one_line(result: Result, code: int = 1) -> str:
    assert (result.exit_code, result.stdout) == (code, ""), (result, result.output)
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")
