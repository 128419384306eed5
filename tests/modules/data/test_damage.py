"""modules.data.damage: files that TensorFlow has written, damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tensorflow as tf

from modules.data.damage import damaged_file, speaks_of_damage


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two shards of a split, the same each time: where a file is cut in two does not vary."""
    found = [tmp_path / "Split-train" / f"examples-{at}-of-2.gz" for at in range(2)]
    found[0].parent.mkdir()
    for file in found:
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for at in range(100):
                writer.write(random.Random(at).randbytes(1000))
    return found


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    middle = len(content) // 2
    if how == "cut off":
        content = content[:middle]
    elif how == "a byte changed":
        content = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    else:
        content = b"no examples"
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["cut off", "a byte changed", "another file"])
def test_the_damaged_file_is_named(files: list[Path], tmp_path: Path, how: str) -> None:
    assert damaged_file(str(tmp_path)) is None
    damage(files[1], how)
    found = damaged_file(str(tmp_path))
    assert found is not None and found.startswith(f"{files[1]} is damaged (")
    # And what TensorFlow says of it makes somebody look.
    with pytest.raises(tf.errors.OpError) as caught:
        list(tf.data.TFRecordDataset([str(each) for each in files], "GZIP"))
    assert speaks_of_damage(caught.value)


@pytest.mark.parametrize("text", ["no such column", "shapes do not match", "out of memory"])
def test_other_errors_do_not_make_anybody_look(text: str) -> None:
    assert not speaks_of_damage(ValueError(text))


def test_beams_words() -> None:
    """Seen when a file was cut in half."""
    assert speaks_of_damage(ValueError("Not a valid TFRecord. Fewer than 269 bytes: b'0a86'"))
