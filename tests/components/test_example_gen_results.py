"""Results of a reading on their way through a file that others may write."""

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from components.example_gen.results import take_result, write_result
from modules.data.duplicates import Duplicates
from modules.data.labels import LabelStatistics
from modules.data.scan import Scan
from modules.data.tally import Tally
from modules.errors import DataError


def test_results_come_back_and_leave_nothing(tmp_path: Path) -> None:
    found = {
        "scan": Scan(examples=Counter(train=3), colored={"image"}, labels=LabelStatistics()),
        "duplicates": Duplicates(moved={1: "eval"}, dropped={2}),
        "tally": Tally(classes={"a": Counter(train=1)}),
    }
    path = str(tmp_path / "result")
    write_result(found, path)
    assert take_result(path) == found
    assert not os.listdir(tmp_path)


class Runs:
    """Pickled, a call."""

    def __init__(self, function: Any, *arguments: Any):
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    "call",
    [
        Runs(os.system, "touch was_run"),
        Runs(eval, "open('was_run', 'w')"),
        Runs(getattr, Scan, "__init__"),
    ],
)
def test_nothing_in_the_file_is_called(
    call: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_result([Scan(), call], "result")
    with pytest.raises(DataError, match=r"^result: must be what this node's readers have written"):
        take_result("result")
    assert not os.listdir(tmp_path)


def test_what_our_modules_import_is_not_called_either(tmp_path: Path) -> None:
    path = tmp_path / "result"
    for name in (b"cmodules.data.scan\nCounter\n.", b"cmodules.data.images\nplain_image\n."):
        path.write_bytes(name)
        with pytest.raises(DataError, match=r"it has modules\.data\."):
            take_result(str(path))
    path.write_bytes(pickle.dumps(Scan())[:-4])
    with pytest.raises(DataError, match="must be what"):
        take_result(str(path))
