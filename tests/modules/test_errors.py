"""modules.errors: what an exception of the user's code says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from modules.errors import reason_of

CODE = """
import sys, keras
def exits(): sys.exit(0)
def misses(): return {}["no such key"]
def fails(): raise RuntimeError("two\\nlines")
def silent(): raise ValueError
def asks_a_library(): keras.layers.Dense(-1)
"""
LINES = {"exits": 3, "misses": 4, "fails": 5, "silent": 6, "asks_a_library": 7}


def raised(function: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        function()
    return caught.value


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("exits", "SystemExit: 0"),
        ("misses", "KeyError: no such key"),
        ("fails", "RuntimeError: two lines"),
        ("silent", "ValueError()"),
        ("asks_a_library", "ValueError: "),
    ],
)
# What is installed counts as the user's where nothing else does.
@pytest.mark.parametrize("place", ["project", "lib/site-packages/users_package"])
def test_the_line_of_the_users_code(tmp_path: Path, name: str, reason: str, place: str) -> None:
    file = tmp_path / place / "code.py"
    file.parent.mkdir(parents=True)
    file.write_text(CODE)
    names: dict[str, Callable[[], object]] = {}
    exec(compile(CODE, str(file), "exec"), names)
    # As the pipeline calls it: pytest's own frames and this file's are not there.
    error = raised(names[name])
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    found = reason_of(error)
    assert found.startswith(reason) and "\n" not in found
    assert found.endswith(f" ({file}, line {LINES[name]})")


def test_a_syntax_error_has_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_typo.py").write_text("\n\ndef build(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    error = raised(lambda: __import__("users_typo"))
    assert reason_of(error).startswith("SyntaxError: ")
    assert reason_of(error).endswith(f" ({tmp_path / 'users_typo.py'}, line 3)")
    assert "users_typo" not in sys.modules


def test_an_error_of_a_layer_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras adds lines to the message, some of them bold."""
    (tmp_path / "users_layer.py").write_text(
        "import keras\n"
        "class Odd(keras.layers.Layer):\n"
        "    def call(self, inputs):\n"
        "        raise KeyError('odd')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = __import__("users_layer").Odd()
    found = reason_of(raised(lambda: layer(keras.ops.zeros((1, 2)))))
    assert found.startswith("KeyError: Exception encountered when calling Odd.call(). ")
    assert "\x1b" not in found
    assert found.endswith(f" ({tmp_path / 'users_layer.py'}, line 4)")
