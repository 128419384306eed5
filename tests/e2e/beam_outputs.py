"""What the Beam nodes of two runs wrote, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LOSS = "sparse_categorical_crossentropy"


def assert_the_same(made: Any, reference: Any) -> None:
    """Examples and transformed examples, statistics, vocabulary, and TFMA's metrics."""
    for artifact in ("examples", "transformed_examples"):
        assert records(getattr(made, artifact).uri) == records(getattr(reference, artifact).uri)
    assert statistics(made.statistics.uri) == statistics(reference.statistics.uri)
    assert vocabulary(made.transform_graph.uri) == vocabulary(reference.transform_graph.uri)
    for model in ("student", "teacher"):
        found, expected = (metrics(each.evaluation.uri, model) for each in (made, reference))
        assert set(found) == set(expected)
        # Overall, three classes, two cameras.
        assert len(expected) == 6
        for part, numbers in expected.items():
            # Shares of whole numbers are the same to the bit. A loss, about 1 here, is a sum in
            # float32 over batches that Beam chooses; its difference from the teacher's, a twentieth
            # of it, inherits the same uncertainty, which is why the bound is absolute.
            rounded = [
                {name: each.pop(name) for name in list(each) if name.startswith(LOSS)}
                for each in (found[part], numbers)
            ]
            assert rounded[0] == pytest.approx(rounded[1], rel=0, abs=1e-5), (model, part)
            assert LOSS in rounded[1]
            assert found[part] == numbers, (model, part)


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


def vocabulary(directory: str) -> list[bytes]:
    import tensorflow_transform as tft

    from modules.preprocessing import LABEL_VOCABULARY

    return sorted(tft.TFTransformOutput(directory).vocabulary_by_name(LABEL_VOCABULARY))


def metrics(directory: str, model: str) -> Any:
    """Numbers by slice."""
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(directory, model_name=model)
    return {
        part: {name: value["doubleValue"] for name, value in outputs[""][""].items()}
        for part, outputs in result.slicing_metrics
    }
