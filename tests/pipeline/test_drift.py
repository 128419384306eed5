"""Drift against the last run's examples, from the graph to the refusal."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modules.errors import ConfigError, DataError
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline
from pipeline.local_runner import inspect

DRIFT = "data.checks.drift={limit: 0.3}"


def write(path: Path, mean: float) -> None:
    rng = np.random.default_rng(0)
    table = {"x": rng.normal(mean, 1, 300), "label": rng.choice(["a", "b"], 300)}
    pd.DataFrame(table).to_csv(path, index=False)


@pytest.mark.thorough
def test_a_run_with_other_examples_is_compared_with_the_last(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    data = f"data={{source: csv, path: {path}, label: label}}"
    model = "{model: mlp, parameters: {units: [2]}}"
    given = [data, f"teacher={model}", f"student={model}", "gate={min_accuracy: 0.1}", DRIFT]
    config = load_config("digits", given)
    write(path, 0)
    assert inspect(config, tmp_path / "run").statistics["x"].maximum < 4
    write(path, 3)
    with pytest.raises(DataError, match=r"differ from earlier ones: feature 'x': the distance is"):
        inspect(config, tmp_path / "run")
    # What was refused is no earlier run of its own, whatever is asked of it next.
    config = load_config("digits", [*given, "data.checks.drift.limit=1"])
    assert inspect(config, tmp_path / "run").statistics["x"].maximum > 4


def test_clusters_have_to_be_told_what_to_compare_with() -> None:
    places = Places("/artifacts", "/pushed")
    with pytest.raises(ConfigError, match=r"data.checks.drift.statistics must be set for runs on"):
        create_pipeline(load_config("digits", [DRIFT]), places)


def test_a_graph_that_compares_nothing_looks_for_nothing() -> None:
    def nodes(*overrides: str) -> set[str]:
        places = Places("/artifacts", "/pushed", metadata={"any": "store"})
        pipeline: Any = create_pipeline(load_config("digits", overrides), places)
        return {component.id for component in pipeline.components}

    assert nodes(DRIFT) - nodes() == {"EarlierStatistics"}
