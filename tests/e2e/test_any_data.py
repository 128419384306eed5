"""Every source, feature kind and task once, from files to a pushed model that is asked again.

A pair of each would be ninety-six runs. Here every source, every kind and every task is in one at
least; which pairs there are besides is in the tests of ExampleGen, of the kinds and of the tasks.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from transform_graphs import png
from transforming import serialize

from pipeline.cli.main import main
from pipeline.config import PipelineConfig

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

COUNT = 240
WORDS = ["good", "bad", "film", "plot", "very", "dull", "fine"]
TRAIN = {"epochs": 2, "batch_size": 32}


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
      write: Writes the data below a directory.
      data: The section, in which {root} is that directory.
      model: Of teacher and student.
      forest: Whether the teacher is a forest instead.
      task: As the data suggest, or as it must be set.
      asked: An example in raw features, as `predict` and a server are asked.
      gate: A limit that every model keeps.
      sets_task: Whether the configuration says the task.
      whole: With a control and with int8, which take a third of the time.
    """

    write: Callable[[Path], None]
    data: dict[str, Any]
    model: str
    task: str
    asked: dict[str, Any]
    gate: dict[str, Any] = field(default_factory=lambda: {"max_size_bytes": 10_000_000})
    sets_task: bool = False
    forest: bool = False
    whole: bool = False


def rows() -> Iterator[dict[str, Any]]:
    """Raw features of every kind, and what can be learnt from them."""
    rng = np.random.default_rng(1)
    for index in range(COUNT):
        size = float(np.round(rng.normal(), 4))
        words = list(rng.choice(WORDS, rng.integers(2, 6)))
        yield {
            "size": size,
            "count": None if index % 9 == 4 else int(rng.integers(0, 50)),
            "city": ["Bern", "Ulm", "Zürich"][index % 3],
            "tags": [["red", "green", "blue"][at] for at in rng.permutation(3)[: index % 3 + 1]],
            "note": " ".join([*words, f"no{index}"]),
            "photo": png(rng, 10, 12),
            "good": "good" if size > 0 else "bad",
        }


def write_csv(root: Path) -> None:
    with open(root / "some.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "count", "city", "note", "weight", "verdict"])
        for index, row in enumerate(rows()):
            # Every twelfth is unlabeled.
            label = "" if index % 12 == 0 else row["good"]
            values = [row["size"], row["count"], row["city"], row["note"]]
            writer.writerow([*("" if v is None else v for v in values), 1 + index % 3, label])


def write_parquet(root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ("size", "city", "tags", "note", "photo")
    table = [
        {**{name: row[name] for name in columns}, "found": [*row["tags"][:1], row["good"]]}
        for row in rows()
    ]
    pq.write_table(pa.Table.from_pylist(table), root / "some.parquet")


def write_tfrecord(root: Path) -> None:
    import tensorflow as tf

    for part in range(2):
        with tf.io.TFRecordWriter(str(root / f"some.tfrecord-{part}")) as writer:
            for index, row in enumerate(rows()):
                if index % 2 == part:
                    example = {
                        "image/encoded": row["photo"],
                        "image/class/label": index % 3,
                        "size": row["size"] + index % 3,
                    }
                    writer.write(serialize(example))


def write_artifact(root: Path) -> None:
    """As another TFX pipeline leaves its examples."""
    import tensorflow as tf

    for split, chosen in (("train", lambda index: index % 4), ("eval", lambda i: not i % 4)):
        directory = root / f"Split-{split}"
        directory.mkdir()
        path = str(directory / "data_tfrecord-00000-of-00001.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for index, row in enumerate(rows()):
                if chosen(index):
                    price = 3.5 * row["size"] + 20.25
                    example = {"note": row["note"], "size": row["size"], "price": price}
                    writer.write(serialize(example))


def write_table_and_function(root: Path) -> None:
    write_csv(root)
    (root / "own.py").write_text(
        "import tensorflow as tf\n"
        "import tensorflow_transform as tft\n\n"
        "def preprocessing_fn(inputs):\n"
        "    city = tft.compute_and_apply_vocabulary(inputs['city'], vocab_filename='towns')\n"
        "    town = tf.one_hot(city[:, 0], 3)\n"
        "    return {'z': tft.scale_to_z_score(inputs['size'])[:, 0], 'town': town}\n"
    )


CASES = {
    "csv, binary": Case(
        write_csv,
        {
            "source": "csv",
            "path": "{root}/some.csv",
            "label": "verdict",
            "positive": "bad",
            "weight": "weight",
            "class_weights": "auto",
            "features": {
                "size": {"kind": "numeric"},
                "count": {"kind": "numeric", "scale": "log"},
                "city": {"kind": "category", "oov_buckets": 2},
                "note": {"kind": "text", "length": 6},
            },
        },
        "mixture",
        "binary",
        {"size": 0.5, "count": 3, "city": "Bern", "note": "a fine film"},
        whole=True,
    ),
    "parquet, multilabel": Case(
        write_parquet,
        {
            "source": "parquet",
            "path": "{root}",
            "label": "found",
            "features": {
                "size": {"kind": "numeric", "scale": "quantile"},
                "tags": {"kind": "category", "max_values": 3},
                "note": {"kind": "text", "tokens": "characters", "length": 20},
                "photo": {"kind": "image", "size": [8, 10], "resize": "pad"},
            },
        },
        "mixture",
        "multilabel",
        {"size": 0.5, "tags": ["red"], "note": "fine"},
        whole=True,
    ),
    "tfrecord, classification": Case(
        write_tfrecord,
        {
            "source": "tfrecord",
            "path": "{root}/some.tfrecord-*",
            "label": "label",
            "rename": {"image": "image/encoded", "label": "image/class/label"},
            "classes": ["low", "middle", "high"],
            "features": {
                "image": {"kind": "image", "size": 8, "resize": "crop", "channels": 1},
                "size": {"kind": "numeric", "scale": "none"},
            },
        },
        "mixture",
        "classification",
        {"size": 2.0},
    ),
    "examples, regression": Case(
        write_artifact,
        {"source": "examples", "path": "{root}", "label": "price"},
        "mixture",
        "regression",
        {"size": 0.5, "note": "a fine film"},
    ),
    "a function of one's own": Case(
        write_table_and_function,
        {
            "source": "csv",
            "path": "{root}/some.csv",
            "label": "verdict",
            "preprocessing_fn": "{root}/own.py",
        },
        "mlp",
        "binary",
        {"size": 0.5, "count": 3, "city": "Bern", "note": "a fine film", "weight": 1},
        forest=True,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_from_files_to_a_pushed_model(case: Case, tmp_path: Path) -> None:
    from pipeline import local_runner

    root = tmp_path / "data"
    root.mkdir()
    case.write(root)
    config = configuration(case, root)
    outcome = local_runner.run(config, tmp_path / "run")
    assert outcome.blessed
    report = json.loads((outcome.report_dir / "report.json").read_text())
    assert report["task"] == case.task
    by_server = served(str(outcome.saved_model), case, root)
    if not any(settings.kind == "image" for settings in config.data.features.values()):
        asked = tmp_path / "asked.jsonl"
        asked.write_text(json.dumps(case.asked) + "\n")
        answers = predicted(tmp_path / "run", asked)
        # What a function of the user's makes of an example, only the SavedModel knows.
        formats = {"saved_model"} if config.data.preprocessing_fn else {"saved_model", "tflite"}
        assert {each["format"] for each in answers} == formats
        for each in answers:
            found = each["value"] if case.task == "regression" else each["top"][0]["probability"]
            tolerance = 1e-4 if each["format"] == "saved_model" else 0.2
            assert found == pytest.approx(by_server, rel=tolerance, abs=tolerance)


def configuration(case: Case, root: Path) -> PipelineConfig:
    data = json.loads(json.dumps(case.data).replace("{root}", str(root)))
    model = {"model": case.model, "train": TRAIN}
    return PipelineConfig.model_validate(
        {
            "name": "any",
            "task": case.task if case.sets_task else None,
            "data": data,
            "teacher": {
                **({"model": "random_forest"} if case.forest else model),
                "allow_weak": True,
            },
            "student": model,
            "distill": {"control": case.whole},
            "export": {"tflite": ["float32", "int8"] if case.whole else ["float32"]},
            "latency": {"processes": 3, "blocks": 2, "queries_per_block": 10},
            "gate": {**case.gate, "allow_below_control": True},
        }
    )


def served(saved_model: str, case: Case, root: Path) -> float:
    """The largest probability, or the value, that a server answers to raw features."""
    import tensorflow as tf

    signature = tf.saved_model.load(saved_model).signatures["serving_raw"]
    given = dict(case.asked)
    _, wanted = signature.structured_input_signature
    for name, spec in wanted.items():
        if name not in given:
            assert spec.dtype == tf.string  # an image
            given[name] = png(np.random.default_rng(3), 9, 9)
    answer = signature(
        **{name: tf.constant([given[name]], spec.dtype) for name, spec in wanted.items()}
    )
    if case.task == "regression":
        return float(answer["values"][0, 0])
    assert set(answer) >= {"probabilities", "logits"}
    if case.task != "multilabel":
        assert answer["label"].dtype == tf.string
    return float(np.max(answer["probabilities"][0]))


def predicted(run: Path, file: Path) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, ["predict", "--model", str(run), "--json", str(file)])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
