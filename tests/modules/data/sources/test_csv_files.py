"""Real CSV files, good and bad."""

import gzip

import pytest
from beam_rows import rows_of

from modules.data.sources.csv_beam import cells_of, header, number
from modules.data.sources.csv_files import CsvFiles
from modules.errors import DataError
from modules.settings import DataSettings, TextFeature


def settings(tmp_path, *contents, **more):
    for index, content in enumerate(contents):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / f"{index}.csv").write_bytes(content)
    return DataSettings(source="csv", path=str(tmp_path), **({"label": "a"} | more))


def test_a_column_has_the_type_of_all_its_cells(tmp_path):
    first = 'a,b,c,d\n1,1,x,1\n-2,2.5,"y, z",1_000\n\n'
    second = "a,b,c,d\n3,,2,2\n"
    found = rows_of(settings(tmp_path, first, second))
    assert {row.name: row.features for row in found} == {
        f"{tmp_path}/0.csv:2": {"a": (1,), "b": (1.0,), "c": (b"x",), "d": (b"1",)},
        f"{tmp_path}/0.csv:3": {"a": (-2,), "b": (2.5,), "c": (b"y, z",), "d": (b"1_000",)},
        f"{tmp_path}/1.csv:2": {"a": (3,), "c": (b"2",), "d": (b"2",)},
    }


def test_what_begins_with_zeros_is_no_number(tmp_path):
    """Zip codes; the column is no mistake, however many of its cells look like numbers."""
    rows = "".join(f"{index},{90000 + index}\n" for index in range(40))
    data = settings(tmp_path, f"a,zip\n{rows}40,01234\n")
    found = [row.features["zip"] for row in rows_of(data)]
    assert found[0] == (b"90000",) and found[-1] == (b"01234",)
    # Other texts in it are mistakes all the same.
    with pytest.raises(DataError, match="41 numbers and 2 texts such as 'x'"):
        rows_of(settings(tmp_path, f"a,zip\n{rows}40,9\n41,01234\n42,x\n"))


def test_a_cell_may_be_a_document(tmp_path):
    text = "word " * 100_000
    (row,) = rows_of(settings(tmp_path, f"a,b\n1,{text}\n"))
    assert row.features["b"] == (text.encode(),)


def test_names_of_columns_may_be_years(tmp_path):
    assert CsvFiles.look(settings(tmp_path, "a,2024\n1,2\n")) == ("a", "2024")


def test_text_stays_text_if_it_is_said(tmp_path):
    found = rows_of(
        settings(tmp_path, "a,zip\n1,01234\n2,99999\n", features={"zip": TextFeature()})
    )
    assert [row.features["zip"] for row in found] == [(b"01234",), (b"99999",)]


def test_lines_in_quotes_and_byte_order_mark_and_gzip(tmp_path):
    text = '\ufeffa,b\r\n"two\nlines","say ""x"""\r\n1,ä\r\n'
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert list(cells_of(str(tmp_path / "x.csv.gz"))) == [
        (1, ["a", "b"]),
        (3, ["two\nlines", 'say "x"']),
        (4, ["1", "ä"]),
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12),
        ("-1.5e3", -1500.0),
        ("nan", pytest.approx(float("nan"), nan_ok=True)),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("1_000", None),
        ("007", None),
        ("-0", 0),
        ("0.5", 0.5),
        ("", None),
        ("x", None),
    ],
)
def test_numbers(cell, value):
    assert number(cell) == value


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (("a,b\n1,2\n", ""), r"1\.csv: the file is empty; remove it, or write a header and rows"),
        (
            ("1,2\n3,4\n",),
            r"0\.csv: the first line must be a header, but has numbers \(1, 2\); add",
        ),
        (("5.1,b\n4.9,b\n",), r"0\.csv: the first line must be a header, but .* \(5\.1\); add"),
        (("a;b\n1,5;2\n",), r"0\.csv: cells must be separated by commas, but .* semicolons"),
        (("a\tb\n1\t2\n",), r"0\.csv: cells must be separated by commas, but .* tabs"),
        (("a,b,a\n",), r"0\.csv: the names in the header must differ .*, got 'a'; rename them"),
        (("a,,\n",), r"0\.csv: the names in the header must differ .*, got ''; rename them"),
        (("a,b\n1,2\n", "a,c\n1,2\n"), r"1\.csv: all files must have the same header.* in b, c"),
        (("a,b\n1,2\n", "b,a\n1,2\n"), r"1\.csv: all files must .* differs .* in their order"),
        ((b"\xff\xfea\x00,\x00",), r"0\.csv:1: must be text in UTF-8 \(.*\); convert the file"),
    ],
)
def test_a_bad_header_is_found_at_a_glance(tmp_path, contents, message):
    with pytest.raises(DataError, match=message) as caught:
        CsvFiles.look(settings(tmp_path, *contents))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/")


def test_the_header_shows_the_features(tmp_path):
    assert CsvFiles.look(settings(tmp_path, "a,b\n1,2\n", label="b")) == ("a", "b")
    assert header([f"{tmp_path}/0.csv"]) == ("a", "b")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label": "bb"}, "data.label: there is no feature 'bb'; did you mean 'b'?"),
        ({"label": "b", "rename": {"c": "d"}}, "data.rename.c: there is no feature 'd'"),
        ({"label": "b", "exclude": ("d",)}, "data.exclude: 'd': there is no feature 'd'"),
        ({"label": "b", "features": {"d": TextFeature()}}, "data.features.d: there is no feature"),
        ({"label": "d", "id": "e"}, "'d'; there are a, b; data.id: there is no feature 'e'"),
    ],
)
def test_wrong_names_are_found_before_the_rows_are_read(tmp_path, given, message):
    # The second line could not be read.
    data = settings(tmp_path, "a,b\n1,2,3\n", **given)
    for find in (CsvFiles.look, rows_of):
        with pytest.raises(DataError) as caught:
            find(data)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\nx,caf\xe9\n", r"0\.csv:3: must be text in UTF-8"),
        (b'a,b\n1,"2\n3,4\n', r"0\.csv:\d: cannot be read as CSV"),
        (
            b"a,b\n" + b"1,2\n" * 30 + b"?,x\n",
            r"'a' has 30 numbers and 1 texts such as '\?'; 'b' has 30 numbers and 1 texts such as",
        ),
    ],
)
def test_bad_content_is_found_by_the_first_reading(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        rows_of(settings(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_row_with_too_few_cells_is_a_problem(tmp_path):
    found = rows_of(settings(tmp_path, "a,b\n1,2\n3\n"))
    problems = [(row.name, row.problem) for row in found if row.problem]
    assert problems == [(f"{tmp_path}/0.csv:3", "1 cells, but the header has 2")]
