"""What comes from outside does not command the terminal."""

import logging
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import pipeline
from modules.errors import printable
from pipeline.cli.main import main

HOSTILE = "\x1b[31mred\x1b]0;title\x07\u202etxt.exe\x9b2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Füße, 数字\n\tend", "Füße, 数字\n\tend"),
        (HOSTILE, r"\x1b[31mred\x1b]0;title\x07\u202etxt.exe\x9b2J"),
        ("a\rb\x00c\udcff", r"a\rb\x00c\udcff"),
    ],
)
def test_only_what_can_be_printed_is_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_errors_and_messages_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_in_process: None, capfd
) -> None:
    def fail(*arguments: object) -> None:
        logging.getLogger("tfx_distill.test").info("class %s", HOSTILE)
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("pipeline.local_runner.run", fail)
    result = CliRunner().invoke(main, ["run", "digits", "--output", str(tmp_path)])
    assert printable(HOSTILE) in result.stderr
    assert printable(HOSTILE) in capfd.readouterr().err
    assert "\x1b" not in result.output
    assert printable(HOSTILE) in (tmp_path / "run.log").read_text()


def test_nothing_is_printed_past_it() -> None:
    """Only the one function knows click's echo; whatever a command prints goes through it."""
    root = Path(pipeline.__path__[0])
    found = [
        file.relative_to(root).as_posix()
        for file in root.rglob("*.py")
        if re.search(r"click\.s?echo\b|^\s*print\(", file.read_text(), re.MULTILINE)
    ]
    assert found == ["terminal/printable.py"]
