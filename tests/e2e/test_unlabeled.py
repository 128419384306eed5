"""A hundred labeled digits, the rest unlabeled: from a table to a student that learned from all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.slow]

LABELS = 100
# As in bench/unlabeled.py: few labels make few steps in an epoch, so the teacher needs many.
OVERRIDES = (
    "data.source=parquet",
    "data.label=digit",
    "data.splits={train: train.parquet, eval: eval.parquet}",
    "teacher.train.epochs=200",
    "teacher.train.patience=200",
    "teacher.train.batch_size=32",
    "student.train.epochs=60",
    "student.train.patience=60",
    "latency={processes: 3, blocks: 2, queries_per_block: 10}",
    "gate={min_accuracy: 0.8}",
)


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Writes the table; how many rows of each kind there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory = tmp_path_factory.mktemp("table")
    rows = list(digit_rows())
    order = np.random.default_rng(0).permutation(len(rows))
    held_out, rest = order[:360], order[360:]
    for name, places, labeled in (("eval", held_out, len(held_out)), ("train", rest, LABELS)):
        table = [
            rows[at] | ({} if index < labeled else {"digit": None})
            for index, at in enumerate(places)
        ]
        schema = pa.schema([("image", pa.binary()), ("digit", pa.int64())])
        pq.write_table(pa.Table.from_pylist(table, schema), directory / f"{name}.parquet")
    return {"path": str(directory), "eval": len(held_out), "unlabeled": len(rest) - LABELS}


def digit_rows() -> Iterator[dict[str, Any]]:
    from modules.data.sources.digits import digits

    for image, label in digits():
        yield {"image": image, "digit": label}


@pytest.fixture(scope="module")
def report(counts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from pipeline import local_runner
    from pipeline.config import load_config

    output = tmp_path_factory.mktemp("run") / "run"
    config = load_config("digits", [*OVERRIDES, f"data.path={counts['path']}"])
    outcome = local_runner.run(config, output)
    assert outcome.blessed
    found = json.loads((outcome.report_dir / "report.json").read_text())
    table = (outcome.report_dir / "report.md").read_text()
    return found | {"table": " ".join(table.split())}


def test_distillation_pays(report: dict[str, Any], counts: dict[str, Any]) -> None:
    comparison = report["comparison"]
    low, _ = comparison["intervals"]["distillation_gain"]
    print(f"gain {comparison['distillation_gain']:.4f}, from {low:.4f}")
    assert report["examples"]["eval"] == counts["eval"]
    assert comparison["distillation_gain"] >= 0.05
    assert low > 0


def test_the_report_says_what_each_model_learned_from(
    report: dict[str, Any], counts: dict[str, Any]
) -> None:
    learned = report["learned_from"]
    labeled = learned["teacher"]["labeled"]
    assert 0.8 * LABELS < labeled < LABELS  # the others chose the best epoch
    assert {role: each["labeled"] for role, each in learned.items()} == dict.fromkeys(
        ("teacher", "student", "control"), labeled
    )
    unlabeled = {role: each["unlabeled"] for role, each in learned.items()}
    # A few digits are there twice; what is judged on is not learned from.
    assert counts["unlabeled"] - 10 < unlabeled["student"] <= counts["unlabeled"]
    assert unlabeled["teacher"] == unlabeled["control"] == 0
    assert learned["control"]["steps_per_epoch"] == learned["student"]["steps_per_epoch"] > 40
    assert learned["teacher"]["steps_per_epoch"] < 5
    assert (
        f"Training examples: teacher and control {labeled} labeled, student {labeled} labeled and "
        f"{unlabeled['student']:,} unlabeled."
    ) in report["table"]
    assert report["data"]["splits"]["unlabeled"]["examples"] == unlabeled["student"]
