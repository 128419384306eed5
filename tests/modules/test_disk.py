"""Full disks: one line that names what is written, where, on which disk, and how much it needs."""

import errno
import os
import shutil

import pytest

from modules.disk import free_space, is_full, space_for
from modules.errors import DataError, UserError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_does_not_fit_is_not_begun(tmp_path):
    path = str(tmp_path / "new" / "weights")
    need = shutil.disk_usage(tmp_path).total + 1
    with pytest.raises(UserError) as caught, space_for(path, need, "the weights"):
        raise AssertionError("begun")
    message = str(caught.value)
    assert message.startswith(
        f"no space left for the weights: {need / 1e6:,.1f} MB are needed, and "
    )
    assert f" MB are free at {path} (disk /" in message
    assert message.endswith("; free some, and the same command goes on from what is done")


@pytest.mark.parametrize("path", ["", "ram://"])
def test_a_disk_that_fills_up_meanwhile(tmp_path, path):
    writing = space_for(f"{path}{tmp_path}", 2_000_000, "the weights")
    with pytest.raises(UserError, match=r"weights: 2\.0 MB are needed, and") as caught, writing:
        raise FULL
    assert caught.value.__cause__ is FULL


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(DataError, match=r"^odd$"), space_for(str(tmp_path), 1, "the weights"):
        raise DataError("odd")


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (OSError(errno.EDQUOT, "quota"), True),
        (RuntimeError("x; No space left on device [Op:SaveV2]"), True),
        (RuntimeError("database or disk is full"), True),
        (caused(ValueError("odd"), caused(KeyError("name"), FULL)), True),
        (OSError(errno.EACCES, "no"), False),
        (caused(ValueError("odd"), KeyError("name")), False),
    ],
)
def test_what_a_full_disk_looks_like(error, full):
    assert is_full(error) == full


def test_the_disk_is_the_mount_point(tmp_path):
    disk = free_space(str(tmp_path / "a" / "b")).split("(disk ")[1].rstrip(")")
    assert os.path.ismount(disk) and str(tmp_path).startswith(disk)
