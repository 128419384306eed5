"""`init` and `inspect`: what they write and show, and that a failure leaves nothing behind."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import Dataset, DataSpec, InputSpec, OutputSpec
from modules.errors import DataError
from modules.settings import ImageFeature, NumericFeature
from pipeline import local_runner
from pipeline.cli.main import main
from pipeline.config import load_config

pytestmark = pytest.mark.usefixtures("run_in_process")
OUTPUT = OutputSpec(task="binary", size=2, classes=("no", "yes"))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def found() -> local_runner.ReadData:
    """A number and an image, as the nodes would have found them."""
    inputs = tuple(
        InputSpec(name=name, kind=kind, feature=name, shape=shape, dtype=dtype)
        for name, kind, shape, dtype in (
            ("photo", "image", (28, 28, 1), "uint8"),
            ("size", "numeric", (), "float32"),
        )
    )
    features = {"photo": ImageFeature(size=28, channels=1), "size": NumericFeature()}
    dataset = Dataset(
        output=OUTPUT,
        examples={"train": 80, "eval": 20},
        class_counts={"train": {"no": 60, "yes": 20}, "eval": {"no": 15, "yes": 5}},
    )
    statistics = {
        "photo": FeatureStatistics("photo", "string", 80, common=("__BYTES_VALUE__",)),
        "size": FeatureStatistics("size", "float", 80, missing=8, minimum=-1, maximum=2),
        "day": FeatureStatistics("day", "string", 80),
    }
    return local_runner.ReadData(
        dataset, DataSpec(inputs=inputs, output=OUTPUT, features=features), statistics
    )


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "My houses.csv"
    path.write_text("photo,size,day,sold\nx,1,2024-01-01,yes\n")
    return path


def test_what_init_writes_is_a_configuration(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_runner, "inspect", lambda config, output: found())
    done = invoke("init", table)
    assert done.exit_code == 0, done.output
    assert "-1 to 2, 10.0% missing\n" in done.output
    assert "written: my-houses.yaml" in done.output
    config = load_config("my-houses.yaml")
    assert config.data.path == str(table) and config.data.label == "sold"
    assert config.data.features == found().spec.features
    assert config.search_plan is not None and config.distill.auto == ("alpha",)
    text = Path("my-houses.yaml").read_text()
    assert "# Not used: day." in text and "BYTES_VALUE" not in text + done.output
    again = invoke("init", table)
    assert again.exit_code == 2 and "choose another or add --force" in again.output
    assert Path("my-houses.yaml").read_text() == text


def test_teachers_that_are_alike_are_written_once(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = found()
    image = read.spec.model_copy(update={"inputs": read.spec.inputs[:1]})
    images = dataclasses.replace(read, spec=image)
    monkeypatch.setattr(local_runner, "inspect", lambda config, output: images)
    done = invoke("init", table)
    assert done.exit_code == 0, done.output
    text = Path("my-houses.yaml").read_text()
    assert text.count("resnet_small") == 1 and text.count("\n  - *teacher  #") == 2
    first, *alike, edges = load_config("my-houses.yaml").teachers
    assert alike == [first, first] and edges.model == "image_linear"


@pytest.mark.parametrize("command", ["init", "inspect"])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("data.label: fix it"), "error: data.label: fix it\n"),
        (ValueError("odd\nand long"), "the traceback is shown by --debug\n"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    command: str, error: Exception, line: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: Any, output: Any) -> None:
        raise error

    monkeypatch.setattr(local_runner, "inspect", fail)
    done = invoke(command, table)
    assert done.stdout == "label: 'sold', the last column; another one with --label\n"
    assert done.exit_code == 1 and done.stderr.endswith(line) and done.stderr.count("\n") == 1
    assert [path.name for path in table.parent.iterdir()] == [table.name]


@pytest.mark.thorough
def test_a_messy_table_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a spreadsheet leaves it: a byte order mark, Windows line ends, empty cells, codes."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    rows = [
        f"A-{at},2024-{1 + at % 12:02}-03,{draw.choice(['01011', '90210'])},"
        f"{draw.random():.3f},{draw.choice(['', 'nl', 'çé'])},{draw.choice(['yes', 'no'])}"
        for at in range(120)
    ]
    text = "\r\n".join(["\ufefforder_id,date,zip,amount,country,returned", *rows, ""])
    Path("orders.csv").write_bytes(text.encode())
    done = invoke("init", "orders.csv")
    assert done.exit_code == 0, done.output
    kinds = {name: each.kind for name, each in load_config("orders.yaml").data.features.items()}
    assert kinds == {"zip": "category", "amount": "numeric", "country": "category"}
    assert "# Not used: date, order_id." in Path("orders.yaml").read_text()
