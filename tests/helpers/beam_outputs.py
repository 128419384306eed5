"""What the Beam nodes of two runs wrote, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modules.data.spec import read_spec

LOSS = "sparse_categorical_crossentropy"


def assert_the_same(made: Any, reference: Any) -> None:
    """Examples, statistics, data_spec.json, soft targets to the byte, and TFMA's metrics."""
    for artifact in ("examples", "transformed_examples"):
        assert records(getattr(made, artifact).uri) == records(getattr(reference, artifact).uri)
    assert statistics(made.statistics.uri) == statistics(reference.statistics.uri)
    assert read_spec(made.transform_graph.uri) == read_spec(reference.transform_graph.uri)
    assert files(made.soft_targets.uri) == files(reference.soft_targets.uri)
    found, expected = (
        {model: metrics(each.evaluation.uri, model) for model in ("student", "teacher")}
        for each in (made, reference)
    )
    for run in (found, expected):
        for part, numbers in run["student"].items():
            # Hundredths of a loss, in which a loss's last digit is a large share: no bound, but
            # what it is made of.
            difference = numbers.pop(f"{LOSS}_diff")
            assert difference == numbers[LOSS] - run["teacher"][part][LOSS], part
    for model, parts in expected.items():
        assert set(found[model]) == set(parts)
        # Overall, three classes, two cameras.
        assert len(parts) == 6
        for part, numbers in parts.items():
            # Shares of whole numbers are the same to the bit. A loss is a sum in float32 over
            # batches that Beam chooses: with 24 examples that alone is uncertain by 1.4e-6.
            losses = [each.pop(LOSS) for each in (found[model][part], numbers)]
            assert losses[0] == pytest.approx(losses[1], rel=2e-6), (model, part)
            assert found[model][part] == numbers, (model, part)


def files(directory: str) -> dict[str, bytes]:
    """What the files of a directory hold, by name."""
    found = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
    assert found
    return found


def records(directory: str) -> dict[str, list[bytes]]:
    """Records by split; Beam may write them, and the features in them, in any order."""
    import tensorflow as tf

    found = {}
    for split in ("train", "eval"):
        files = sorted(str(path) for path in Path(directory, f"Split-{split}").iterdir())
        data = tf.data.TFRecordDataset(files, compression_type="GZIP")
        examples = map(tf.train.Example.FromString, data.as_numpy_iterator())
        found[split] = sorted(each.SerializeToString(deterministic=True) for each in examples)
        assert found[split]
    return found


def statistics(directory: str) -> dict[tuple[str, str], str]:
    """Statistics as text, by split and feature."""
    import tensorflow_data_validation as tfdv

    found = {}
    for split in ("train", "eval"):
        loaded = tfdv.load_stats_binary(f"{directory}/Split-{split}/FeatureStats.pb")
        (dataset,) = loaded.datasets
        found[split, ""] = str(dataset.num_examples)
        for feature in dataset.features:
            found[split, ".".join(feature.path.step)] = str(feature)
    return found


def metrics(directory: str, model: str) -> Any:
    """Numbers by slice."""
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(directory, model_name=model)
    return {
        part: {name: value["doubleValue"] for name, value in outputs[""][""].items()}
        for part, outputs in result.slicing_metrics
    }
