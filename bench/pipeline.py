"""What does distillation with all its evidence cost, beside a stock pipeline that trains one model?

    make bench-pipeline

Runs two pipelines on the same 1,797 digits, in turn, uncached, each in a process of its own:

- ours: `tfx-distill run digits` with all labels;
- stock: TFX's own nodes from ExampleGen to Pusher, with a threshold in TFX's Evaluator. It trains
  the teacher of ours for as many epochs, by plain Keras.

Seconds are wall time and processor time, child processes included. A node begins and ends with
TFX's own message about it; `start` is all before the first node, nearly all of it imports, and
`end` all after the last.

Writes bench/pipeline.json and the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
MODULE = ROOT / "stock_module.py"
RESULTS, DOCUMENT = ROOT / "pipeline.json", ROOT.parent / "docs" / "benchmarks.md"
PRESET = "digits"
# All labels, so that both read the same, and as many epochs as these need.
OVERRIDES = (
    "data.max_labels=null",
    "teacher.train={epochs: 25, batch_size: 64, learning_rate: 0.003, weight_decay: 0.3}",
    "student.train.epochs=80",
    "gate={min_accuracy: 0.95}",
)
WAYS = ("ours", "stock")
NODES_FILE, LOG_FILE = "nodes.json", "output.log"
# TFX's launcher has no hook, but says so.
BEGINS, ENDS = "Component %s is running.", "Component %s is finished."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.exit(child(arguments.child, arguments.directory, arguments.started))
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(arguments.rounds):
            for way in WAYS:
                folder = Path(directory, f"{way}-{number}")
                runs[way].append(timed_run(way, folder))
                print(number, way, runs[way][-1]["total"], flush=True)
    from modules.judge import evidence

    results = {
        "ratio": {
            kind: statistics.median(
                ours["total"][kind] / stock["total"][kind]
                for ours, stock in zip(runs["ours"], runs["stock"], strict=True)
            )
            for kind in ("wall", "cpu")
        },
        "median": {way: median(of_way) for way, of_way in runs.items()},
        "environment": evidence.environment().model_dump(),
        "runs": runs,
    }
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    if arguments.output == RESULTS:
        sys.path.append(str(ROOT))  # at the end, where `pipeline` is not taken for this file
        from sections import replace_section

        replace_section(DOCUMENT, "pipeline", f"{caption(results)}\n\n{table(results)}")


def timed_run(way: str, folder: Path) -> dict[str, Any]:
    """Seconds of one run in a process of its own: in all, and by node."""
    folder.mkdir()
    with open(folder / LOG_FILE, "wb") as log:
        started = time.time()
        # -P: beside this file, `pipeline` would be this file.
        command = [sys.executable, "-P", __file__, "--child", way, "--directory", str(folder)]
        process = subprocess.Popen(
            [*command, "--started", repr(started)],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(ROOT.parent)},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.time() - started
    if status:
        raise SystemExit(f"{way} failed:\n{(folder / LOG_FILE).read_text()[-3000:]}")
    found = json.loads((folder / NODES_FILE).read_text())
    cpu = usage.ru_utime + usage.ru_stime
    spent = [sum(seconds[at] for seconds in found.values()) for at in (0, 1)]
    found["end"] = [wall - spent[0], cpu - spent[1]]
    return {
        "total": {"wall": round(wall, 1), "cpu": round(cpu, 1)},
        "nodes": {
            name: {"wall": round(seconds[0], 2), "cpu": round(seconds[1], 2)}
            for name, seconds in found.items()
        },
    }


class NodeTimes(logging.Handler):
    """Wall and processor seconds of every node, and of what comes before the first."""

    def __init__(self, started: float):
        super().__init__()
        self.seconds: dict[str, list[float]] = {}
        self._last = (started, 0.0)

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg not in (BEGINS, ENDS):
            return
        now = (time.time(), sum(os.times()[:4]))
        name = "start" if not self.seconds else str(record.args[0])
        # What TFX does between two nodes is the next one's.
        if name == "start" or record.msg == ENDS:
            pairs = zip(now, self._last, strict=True)
            self.seconds[name] = [after - before for after, before in pairs]
            self._last = now


def child(way: str, folder: Path, started: float) -> int:
    """Run one pipeline in this process and leave its nodes' seconds."""
    times = NodeTimes(started)
    # The command line replaces the root logger's handlers, but not those of TFX's logger.
    logging.getLogger("absl").addHandler(times)
    code = run_ours(folder) if way == "ours" else run_stock(folder)
    (folder / NODES_FILE).write_text(json.dumps(times.seconds))
    return code


def run_ours(folder: Path) -> int:
    from pipeline.cli import main as cli

    # In this process and not in a child of it: the nodes' times are taken here.
    cli.supervised = lambda work, log_file: work()
    try:
        given = [part for override in OVERRIDES for part in ("--set", override)]
        cli.main(["run", PRESET, "--output", str(folder / "run"), *given])
    except SystemExit as end:
        # A refused student took as long as one that was pushed.
        return 0 if end.code in (0, 3) else 1
    return 0


def run_stock(folder: Path) -> int:
    from absl import logging as absl_logging
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    absl_logging.set_verbosity(absl_logging.INFO)
    LocalDagRunner().run(stock_pipeline(folder))
    return 0


def stock_pipeline(folder: Path) -> Any:
    """ExampleGen to Pusher of TFX alone, one model."""
    from tfx import components
    from tfx.orchestration import metadata, pipeline
    from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

    from pipeline.beam_arguments import IN_MEMORY
    from pipeline.config import load_config

    config = load_config(PRESET, OVERRIDES)
    counts = write_digits(folder / "data", config)
    shape = [8, 8, 1]
    splits = [
        example_gen_pb2.Input.Split(name=name, pattern=f"{name}/*") for name in ("train", "eval")
    ]
    examples = components.ImportExampleGen(
        input_base=str(folder / "data"), input_config=example_gen_pb2.Input(splits=splits)
    )
    statistics_gen = components.StatisticsGen(examples=examples.outputs["examples"])
    schema = components.SchemaGen(
        statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True
    )
    validator = components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        module_file=str(MODULE),
        custom_config={"shape": shape},
        disable_statistics=True,  # as ours
    )
    trainer = components.Trainer(
        module_file=str(MODULE),
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={
            "model": config.teacher.model_dump_json(include={"model", "parameters", "train"}),
            "shape": shape,
            "classes": 10,
            "examples": counts["train"],
        },
    )
    evaluator = components.Evaluator(
        examples=examples.outputs["examples"],
        model=trainer.outputs["model"],
        eval_config=eval_config(config.gate.min_accuracy or 0.0),
    )
    pusher = components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(folder / "pushed"))
        ),
    )
    return pipeline.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(folder / "root"),
        components=[
            *(examples, statistics_gen, schema, validator, transform),
            *(trainer, evaluator, pusher),
        ],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(folder / "metadata.sqlite")
        ),
        beam_pipeline_args=list(IN_MEMORY),
    )


def eval_config(min_accuracy: float) -> Any:
    """Accuracy, loss and top 3, overall and by class, as ours asks TFMA; one threshold."""
    from tensorflow_model_analysis.proto import config_pb2

    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": min_accuracy})
    )
    metrics = [
        config_pb2.MetricConfig(class_name="ExampleCount"),
        config_pb2.MetricConfig(class_name="SparseCategoricalAccuracy", threshold=threshold),
        config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy"),
        config_pb2.MetricConfig(class_name="SparseTopKCategoricalAccuracy", config='{"k": 3}'),
    ]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default", prediction_key="probabilities", label_key="label"
            )
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=["class_name"]),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
    )


def write_digits(directory: Path, config: Any) -> dict[str, int]:
    """The examples that our ExampleGen makes, in the same two splits; how many are in each."""
    import tensorflow as tf

    from modules.data.sources.digits import digits
    from modules.data.splits import example_id, in_eval_split

    counts = {}
    for split in ("train", "eval"):
        (directory / split).mkdir(parents=True)
        counts[split] = 0
        options = tf.io.TFRecordOptions("GZIP")
        with tf.io.TFRecordWriter(str(directory / split / "digits.gz"), options) as writer:
            for image, label in digits():
                if in_eval_split(example_id(image), config.data) != (split == "eval"):
                    continue
                name = str(label).encode()
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                    "class_name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
                counts[split] += 1
    return counts


def median(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median seconds by node, with `total` as the last."""
    parts = [run["nodes"] | {"total": run["total"]} for run in runs]
    return {
        name: {
            kind: round(statistics.median(part[name][kind] for part in parts), 2)
            for kind in ("wall", "cpu")
        }
        for name in parts[0]
    }


def caption(results: dict[str, Any]) -> str:
    """What was measured, and the ratio."""
    machine, runs = results["environment"], results["runs"]
    totals = [
        ", ".join(f"{run['total']['wall']:.0f}" for run in runs[way]) + f" s ({way})"
        for way in WAYS
    ]
    return (
        f"**{results['ratio']['wall']:.2f} times the wall time of the stock pipeline**, median of "
        f"{len(runs['ours'])} pairs: {' and '.join(totals)}. {machine['cpu']}, "
        f"{machine['cpu_count']} cores. Median seconds by node:"
    )


def table(results: dict[str, Any]) -> str:
    """Nodes of ours beside those of the stock pipeline, and the ratio of the totals."""
    from tabulate import tabulate

    ours, stock = results["median"]["ours"], results["median"]["stock"]
    rows = []
    for name in sorted(ours | stock, key=lambda name: (name == "total", name == "end")):
        pairs = [(way.get(name, {}).get(kind)) for kind in ("wall", "cpu") for way in (ours, stock)]
        rows.append([name, *pairs])
    ratio = results["ratio"]
    rows.append(["ratio", ratio["wall"], None, ratio["cpu"], None])
    headers = ["seconds", "ours, wall", "stock, wall", "ours, CPU", "stock, CPU"]
    return tabulate(rows, headers, tablefmt="github", floatfmt=".1f")


if __name__ == "__main__":
    main()
