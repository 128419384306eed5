"""The registry of sources, and settings that contradict each other."""

import subprocess
import sys

import pytest
from checkout import ROOT

from modules.data.sources import registry
from modules.data.sources.csv_files import CsvFiles
from modules.errors import ConfigError
from modules.settings import DataSettings


def test_sources_are_found_by_their_names():
    assert registry.find_source(DataSettings(source="csv", path="x")) is CsvFiles


@pytest.mark.parametrize(
    ("name", "hint"), [("image_foldr", "; did you mean 'image_folder'?"), ("mnist", "")]
)
def test_an_unknown_source_is_refused(name, hint):
    with pytest.raises(ConfigError) as caught:
        registry.check_source(DataSettings(source=name))
    assert str(caught.value) == (
        f"data.source must be one of {', '.join(registry.SOURCES)}, got {name!r}{hint}"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "image_folder"}, r"data\.path must be set"),
        ({"source": "csv"}, r"data\.path must be set when data\.source is csv"),
        ({"source": "bigquery"}, r"data\.query must be set"),
        ({"source": "bigquery", "query": "SELECT 1", "path": "x"}, r"data\.path must not be set"),
        (
            {"query": "SELECT 1"},
            r"data\.query must not be set when data\.source is digits; set data\.source: bigquery",
        ),
        ({"source": "csv", "path": "x", "time": "t"}, r"data\.time needs data\.eval_from"),
        ({"source": "csv", "path": "x", "eval_from": "2"}, r"data\.eval_from needs data\.time"),
        (
            {"source": "csv", "path": "x", "time": "t", "eval_from": "soon"},
            r"data\.eval_from must be a date such as 2024-03-31.*got 'soon'",
        ),
        (
            {"source": "csv", "path": "x", "time": "t", "eval_from": "2", "group": "g"},
            r"data\.time and data\.group are two ways to split",
        ),
        ({"source": "csv", "path": "x", "splits": {"train": "a"}}, r"must have train and eval"),
        (
            {
                "source": "csv",
                "path": "x",
                "splits": {"train": "a", "eval": "b", "unlabeled": "c"},
                "unlabeled": "d",
            },
            r"data\.unlabeled and data\.splits\.unlabeled say the same",
        ),
        (
            {"source": "csv", "path": "d/{SPAN}/*", "unlabeled": "u.csv"},
            r"must have the same of \{SPAN\}, \{VERSION\}",
        ),
        ({"source": "examples", "path": "a/*"}, r"must be the directory of one Examples artifact"),
    ],
)
def test_what_a_source_cannot_use_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        registry.check_source(DataSettings(**settings))
    assert "\n" not in str(caught.value)


def test_checking_a_configuration_is_light():
    code = (
        "from modules.data.sources.registry import check_source; import sys;"
        "from modules.settings import DataSettings; check_source(DataSettings());"
        "heavy = {'tensorflow', 'sklearn', 'numpy', 'fsspec', 'apache_beam', 'pyarrow', 'PIL'};"
        "sys.exit(str(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
