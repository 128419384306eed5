"""How fast do the data nodes go, and does their memory grow with the data?

    make bench-data

Rows of 20 columns from CSV, and images of 32x32x3 from TFRecord files, a tenth of them and all of
them, through ours and TFX's own ExampleGen, StatisticsGen, SchemaGen, ExampleValidator and
Transform, and through SoftTargets, which TFX has not. Each in a process of its own, in turn.
Transform does the same in both: numbers are standardized (ours leaves that to the model),
categories become ids, images become raw pixels. Ours also splits without duplicates across the
splits, checks labels, and refuses what it cannot read.

Writes bench/data.json and the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent
RESULTS, DOCUMENT = ROOT / "data.json", ROOT.parent / "docs" / "benchmarks.md"
WAYS = ("ours", "stock")
COUNTS = {"table": 1_000_000, "images": 100_000}
NUMBERS, CATEGORIES = 14, 5
NODES = ("ExampleGen", "StatisticsGen", "Transform", "SoftTargets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fraction", type=float, default=1.0, help="of the rows and images")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=COUNTS)
    parser.add_argument("--child", nargs=3, metavar=("WAY", "KIND", "DIRECTORY"))
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    results: dict[str, Any] = {}
    for kind, count in COUNTS.items():
        if arguments.only not in (None, kind):
            continue
        for part in (count // 10, count):
            part = int(part * arguments.fraction)
            with tempfile.TemporaryDirectory() as directory:
                write(kind, part, Path(directory, "data"))
                for way in WAYS:
                    found = measured(way, kind, Path(directory))
                    results[f"{kind}/{part}/{way}"] = found
                    print(kind, part, way, json.dumps(found), flush=True)
                    save(results, arguments.output)
    print(table(results))
    if arguments.output == RESULTS:
        sys.path.append(str(ROOT))
        from sections import replace_section

        replace_section(DOCUMENT, "data", table(results))


def save(results: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(results, indent=2) + "\n")


def measured(way: str, kind: str, directory: Path) -> dict[str, Any]:
    """Seconds and peak memory by node, of a process of its own."""
    (directory / way).mkdir()
    with open(directory / way / "output.log", "wb") as log:
        status = subprocess.run(
            [sys.executable, "-P", __file__, "--child", way, kind, str(directory)],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(ROOT.parent)},
            check=False,
        )
    if status.returncode:
        text = (directory / way / "output.log").read_text(errors="replace")
        raise SystemExit(f"{way} failed on {kind}:\n{text[-3000:]}")
    return dict(json.loads((directory / way / "nodes.json").read_text()))


def meter_nodes() -> dict[str, dict[str, float]]:
    """Wall and processor seconds and peak memory of every node that is launched from now on."""
    from tfx.orchestration.portable import launcher

    found: dict[str, dict[str, float]] = {}
    launch = launcher.Launcher.launch

    def metered(self: Any) -> Any:
        # Linux forgets the peak.
        Path("/proc/self/clear_refs").write_text("5")
        wall, cpu = time.monotonic(), time.process_time()
        result = launch(self)
        name = self._pipeline_node.node_info.id
        found["ExampleGen" if name.endswith("ExampleGen") else name] = {
            "seconds": round(time.monotonic() - wall, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "peak_mb": round(_peak() / 1e6),
        }
        return result

    launcher.Launcher.launch = metered  # type: ignore[method-assign]
    return found


def _peak() -> int:
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) * 1024


def write(kind: str, count: int, directory: Path) -> None:
    """The data, four files of them."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    for file in range(4):
        size = count // 4
        if kind == "table":
            _write_table(rng, size, directory / f"part-{file}.csv")
        else:
            _write_images(rng, size, directory / f"part-{file}.tfrecord")


def _write_table(rng: np.random.Generator, count: int, path: Path) -> None:
    names = [f"x{index}" for index in range(NUMBERS)] + [f"c{index}" for index in range(CATEGORIES)]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "label"])
        for _ in range(count):
            numbers = rng.normal(size=NUMBERS).round(4).tolist()
            categories = [f"v{value}" for value in rng.integers(0, 50, CATEGORIES)]
            writer.writerow([*numbers, *categories, f"class{int(numbers[0] > 0)}"])


def _write_images(rng: np.random.Generator, count: int, path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            encoded = tf.io.encode_jpeg(pixels).numpy()
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(encoded)
            example.features.feature["label"].int64_list.value.append(int(rng.integers(0, 10)))
            writer.write(example.SerializeToString())


def child(way: str, kind: str, directory: str) -> None:
    """Run one way's nodes in this process."""
    found = meter_nodes()
    data, out = Path(directory, "data"), Path(directory, way)
    run_ours(kind, data, out) if way == "ours" else run_stock(kind, data, out)
    (out / "nodes.json").write_text(json.dumps(found))


def run_ours(kind: str, data: Path, out: Path, beam: dict[str, Any] | None = None) -> None:
    """The nodes up to SoftTargets; `beam` is `runtime.beam`."""
    from tfx.orchestration.pipeline import RunOptions

    from pipeline.config import PipelineConfig
    from pipeline.graph import create_pipeline
    from pipeline.local_runner import LocalRunner, places

    if kind == "table":
        source = {"source": "csv", "path": str(data), "label": "label"}
        teacher, student = {"model": "mlp", "parameters": {"units": [256, 256]}}, {"model": "mlp"}
    else:
        image = {"kind": "image", "size": 32, "channels": 3}
        features = {"image": image}
        source = {"source": "tfrecord", "path": str(data), "label": "label", "features": features}
        teacher, student = {"model": "resnet_small"}, {"model": "separable_cnn"}
    config = PipelineConfig.model_validate(
        {
            "name": "bench",
            "data": source,
            "teacher": {**teacher, "train": {"epochs": 0}, "allow_weak": True},
            "student": student,
            "gate": {"min_speedup": 1},
            "runtime": {"beam": beam or {}},
        }
    )
    pipeline = create_pipeline(config, places(out, config.runtime))
    LocalRunner(config).run(pipeline, run_options=RunOptions(to_nodes=["SoftTargets"]))


def run_stock(kind: str, data: Path, out: Path) -> None:
    from tfx.components import (
        CsvExampleGen,
        ExampleValidator,
        ImportExampleGen,
        SchemaGen,
        StatisticsGen,
        Transform,
    )
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    maker = CsvExampleGen if kind == "table" else ImportExampleGen
    examples = maker(input_base=str(data))
    statistics = StatisticsGen(examples=examples.outputs["examples"])
    schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"bench.data.stock_{kind}",
        disable_statistics=True,
    )
    pipeline = Pipeline(
        pipeline_name="stock",
        pipeline_root=str(out / "root"),
        components=[examples, statistics, schema, validator, transform],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(out / "metadata.sqlite")
        ),
        beam_pipeline_args=["--direct_running_mode=in_memory"],
    )
    LocalDagRunner().run(pipeline)


def stock_table(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the tutorials of TFX do with a table."""
    import tensorflow_transform as tft

    outputs = {}
    for index in range(NUMBERS):
        outputs[f"x{index}"] = tft.scale_to_z_score(inputs[f"x{index}"])
    for index in range(CATEGORIES):
        name = f"c{index}"
        outputs[name] = tft.compute_and_apply_vocabulary(
            inputs[name], num_oov_buckets=1, vocab_filename=name
        )
    outputs["label"] = tft.compute_and_apply_vocabulary(inputs["label"], vocab_filename="label")
    return outputs


def stock_images(inputs: dict[str, Any]) -> dict[str, Any]:
    """Decoded and resized images, as floats, as TFX's CIFAR-10 example has them."""
    import tensorflow as tf

    def decode(encoded: Any) -> Any:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.image.resize(tf.ensure_shape(image, [None, None, 3]), (32, 32))

    pixels = tf.map_fn(decode, tf.reshape(inputs["image"], [-1]), fn_output_signature=tf.float32)
    return {"image": pixels, "label": inputs["label"]}


def table(results: dict[str, Any]) -> str:
    """Markdown: examples per second of processor time, and peak memory, by data and node.

    Processor time, because other work on the machine changes it least; these nodes use one core.
    """
    lines = [
        "| data | node | ours, per second | TFX, per second | ratio | ours, peak | TFX, peak |",
        "|:--|:--|--:|--:|--:|--:|--:|",
    ]
    for kind in COUNTS:
        counts = sorted({int(key.split("/")[1]) for key in results if key.startswith(f"{kind}/")})
        for count in counts:
            ours, stock = (results[f"{kind}/{count}/{way}"] for way in WAYS)
            for node in NODES:
                cells = [
                    f"{count / found[node]['cpu_seconds']:,.0f}" if node in found else "-"
                    for found in (ours, stock)
                ]
                memory = [
                    f"{found[node]['peak_mb']:,.0f} MB" if node in found else "-"
                    for found in (ours, stock)
                ]
                ratio = (
                    f"{stock[node]['cpu_seconds'] / ours[node]['cpu_seconds']:.2f}"
                    if node in stock
                    else "-"
                )
                lines.append(
                    f"| {count:,} {kind} | {node} | {' | '.join(cells)} | {ratio} | "
                    f"{' | '.join(memory)} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
