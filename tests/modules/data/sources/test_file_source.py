"""Where the files of a source are: files, directories, patterns, spans, splits."""

import os

import pytest

from modules.data.sources.csv_files import CsvFiles
from modules.data.sources.protocol import Files, Part
from modules.data.sources.tfrecord import TFRecordFiles
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings


def files_of(path, source=CsvFiles, **settings):
    return source.files(DataSettings(source="csv", path=path, **settings))


@pytest.mark.parametrize(
    ("path", "base", "pattern"),
    [
        ("/data/all", "/data/all", "*.csv"),
        ("/data/all/", "/data/all", "*.csv"),
        ("/data/a.csv", "/data", "a.csv"),
        ("/data/a.csv.gz", "/data", "a.csv.gz"),
        ("a.csv", ".", "a.csv"),
        ("/data/*.csv", "/data", "*.csv"),
        ("*.csv", ".", "*.csv"),
        ("/data/days/{SPAN}/v{VERSION}/*.csv", "/data/days", "{SPAN}/v{VERSION}/*.csv"),
        ("s3://bucket/days/{YYYY}-{MM}-{DD}/*", "s3://bucket/days", "{YYYY}-{MM}-{DD}/*"),
        ("s3://bucket/all", "s3://bucket/all", "*.csv"),
    ],
)
def test_a_path_is_a_file_a_directory_or_a_pattern(path, base, pattern):
    assert files_of(path) == Files(base, (Part("all", pattern),))


def test_what_is_there_decides(tmp_path):
    (tmp_path / "looks_like.csv").mkdir()
    (tmp_path / "data").write_text("a\n1\n")
    (directory,) = files_of(f"{tmp_path}/looks_like.csv").parts
    assert directory.pattern == "*.csv"
    assert files_of(f"{tmp_path}/data") == Files(str(tmp_path), (Part("all", "data"),))


def test_files_of_tfds():
    found = files_of("/d/x.tfrecord-00000-of-00001", TFRecordFiles)
    assert found == Files("/d", (Part("all", "x.tfrecord-00000-of-00001"),))


def test_own_splits_and_unlabeled_files():
    splits = {"train": "train-*.csv", "eval": "test.csv"}
    assert files_of("/d", splits=splits, unlabeled="/d/pool/u.csv").parts == (
        Part("train", "train-*.csv"),
        Part("eval", "test.csv"),
        Part("unlabeled", "pool/u.csv"),
    )
    assert files_of("/d/a.csv", unlabeled="/pool").parts[1] == Part("unlabeled", "/pool/*.csv")
    assert files_of("s3://b/d", unlabeled="s3://b/d/u/*.csv").parts[1].pattern == "u/*.csv"
    with pytest.raises(ConfigError, match=r"data\.unlabeled must lie below s3://b/d when"):
        files_of("s3://b/d", unlabeled="s3://b/e")


@pytest.mark.parametrize("change", ["rename", "write", "another file", "swap"])
def test_what_tfx_does_not_see_is_in_the_key(tmp_path, change):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"x\n{name}\n")
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    settings = DataSettings(source="csv", path=str(tmp_path))
    before = CsvFiles.unwatched(settings)
    (tmp_path / "notes.txt").write_text("none of ours")
    assert CsvFiles.unwatched(settings) == before
    match change:
        case "rename":
            (tmp_path / "b.csv").rename(tmp_path / "c.csv")
        case "write":
            (tmp_path / "b.csv").write_text("x\n2\n")
        case "another file":
            (tmp_path / "c.csv").write_text("x\n")
        case _:
            for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
                (tmp_path / f"{old}.csv").rename(tmp_path / f"{new}.csv")
    assert CsvFiles.unwatched(settings) != before


def test_of_large_data_times_stand_for_contents(tmp_path, monkeypatch):
    file = tmp_path / "a.csv"
    file.write_text("x\n1\n")
    settings = DataSettings(source="csv", path=str(tmp_path))
    exact = CsvFiles.unwatched(settings)
    os.utime(file, ns=(10**18, 10**18))
    assert CsvFiles.unwatched(settings) == exact
    monkeypatch.setattr("modules.data.sources.state.MAX_CONTENT_BYTES", 3)
    before = CsvFiles.unwatched(settings)
    assert CsvFiles.unwatched(settings) == before != exact
    os.utime(file, ns=(10**18, 10**18 + 1))
    assert CsvFiles.unwatched(settings) != before


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "path"),
        ({"splits": {"train": "t*.csv", "eval": "*.csv"}}, "splits.train"),
        ({"unlabeled": "/nowhere/*.csv"}, "path"),
    ],
)
def test_no_file_for_a_pattern(tmp_path, settings, key):
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(DataError, match=rf"data\.{key}: no file matches {tmp_path}/.*\.csv; set"):
        CsvFiles.look(DataSettings(source="csv", path=str(tmp_path), **settings))


@pytest.mark.parametrize("below", ["", "x.csv", "*.csv"])
def test_a_pipe_among_the_files_is_named(tmp_path, below):
    (tmp_path / "a.csv").write_text("x\n1\n")
    os.mkfifo(tmp_path / "x.csv")
    settings = DataSettings(source="csv", path=f"{tmp_path}/{below}".rstrip("/"))
    named = rf"data\.path: {tmp_path}/x\.csv cannot be read, it is not a regular file; remove it"
    with pytest.raises(DataError, match=named):
        CsvFiles.look(settings)
    (part,) = CsvFiles.absolute(settings)
    with pytest.raises(DataError, match=named):
        CsvFiles.matching(part)
