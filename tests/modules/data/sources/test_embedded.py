"""The data that are part of the project, and `data.path: embedded:NAME`."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modules.data.sources.embedded import DIRECTORY
from modules.data.sources.file_source import FileSource
from modules.data.sources.parquet import ParquetFiles
from modules.data.sources.protocol import Part
from modules.data.sources.registry import check_source
from modules.errors import ConfigError
from modules.settings import DataSettings

NAMES = ("diamonds", "mnist", "segments", "sentiment")


def settings(name: str = "segments", **others: Any) -> DataSettings:
    given = {"source": "parquet", "path": f"embedded:{name}.parquet"} | others
    return DataSettings.model_validate(given)


def labels(name: str, column: str) -> Any:
    return pq.read_table(DIRECTORY / f"{name}.parquet")[column].to_numpy()


def test_the_files_are_what_sources_md_says() -> None:
    text = (DIRECTORY / "SOURCES.md").read_text()
    said = re.findall(r"^\| `(\w+)\.parquet` \| ([\d,]+) \| (\d+) \| `(\w+)`", text, re.M)
    assert {name for name, *_ in said} == {path.stem for path in DIRECTORY.glob("*.parquet")}
    for name, rows, columns, label in said:
        found = pq.read_metadata(DIRECTORY / f"{name}.parquet")
        assert (found.num_rows, found.num_columns) == (int(rows.replace(",", "")), int(columns))
        assert label in found.schema.names
        section = text.partition(f"## {name}.parquet\n")[2].partition("\n## ")[0]
        assert set(re.findall(r"^- (\w+):", section, re.M)) == {
            *("Data", "Source", "License", "Changed")
        }
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 2_500_000


def test_the_labels_are_what_sources_md_says() -> None:
    assert len(set(labels("segments", "category"))) == 7
    assert set(labels("sentiment", "sentiment")) == {"negative", "positive"}
    assert np.bincount(labels("mnist", "digit")).tolist() == [500] * 10
    prices = labels("diamonds", "price")
    assert (prices.min(), prices.max()) >= (300, 18_000)


def test_the_images_are_gray_and_28_pixels_wide() -> None:
    images = [Image.open(io.BytesIO(content)) for content in labels("mnist", "image")]
    assert {(image.mode, image.size) for image in images} == {("L", (28, 28))}


@pytest.mark.parametrize("name", NAMES)
def test_they_are_found_where_they_are_read(name: str) -> None:
    check_source(settings(name))
    # Nothing that another machine reads holds this machine's path.
    assert ParquetFiles.files(settings(name)) is None
    path = str(DIRECTORY / f"{name}.parquet")
    assert ParquetFiles.matching(Part("all", f"embedded:{name}.parquet")) == [path]
    names = ParquetFiles.look(settings(name))
    assert names == tuple(pq.read_schema(path).names)


def test_other_content_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "segments.parquet"
    monkeypatch.setattr("modules.data.sources.embedded.DIRECTORY", tmp_path)
    file.write_bytes(b"a")
    before = FileSource.unwatched(settings())
    file.write_bytes(b"b")
    assert FileSource.unwatched(settings()) != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"path": "embedded:segment.parquet"},
            "data.path must be one of embedded:diamonds.parquet, embedded:mnist.parquet, "
            "embedded:segments.parquet, embedded:sentiment.parquet, or files of your own, got "
            "'embedded:segment.parquet'; did you mean 'embedded:segments.parquet'?",
        ),
        (
            {"source": "csv"},
            "data.source must be parquet when data.path is embedded:segments.parquet, got 'csv'",
        ),
        (
            {"splits": {"train": "a", "eval": "b"}},
            "data.splits must not be set when data.path is embedded:segments.parquet, got "
            "{'train': 'a', 'eval': 'b'}; remove it",
        ),
        (
            {"unlabeled": "more.parquet"},
            "data.unlabeled must not be set when data.path is embedded:segments.parquet, got "
            "'more.parquet'; remove it",
        ),
    ],
)
def test_what_does_not_suit_them_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_source(settings(**changes))
    assert str(caught.value) == message
