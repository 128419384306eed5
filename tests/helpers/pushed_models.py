"""Small models of several features and tasks, exported and pushed as the pipeline does it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mixed_models import OUTPUTS, build
from pushes import push_exported
from transform_graphs import make_rows, write_graph
from transforming import serialize

FLOAT32 = ("float32",)


def make_graph(directory: Path, task: str, names: Sequence[str] = ()) -> SimpleNamespace:
    """A transform graph of some raw features, of 60 rows, with its specification."""
    rows = make_rows(60)
    directory.mkdir(parents=True, exist_ok=True)
    spec = write_graph(directory, rows, OUTPUTS[task], names)
    return SimpleNamespace(rows=rows, spec=spec, directory=str(directory))


def export(
    graph: SimpleNamespace, directory: Path, variants: Sequence[Any] = FLOAT32
) -> tuple[str, Path]:
    """Write a model's SavedModel and what the Exporter writes; their directories."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from modules.data.features.decode import model_inputs
    from modules.export import saved_model, warmup
    from modules.export.preprocessing import write_preprocessing
    from modules.export.raw_features import raw_features
    from modules.export.tflite import export_models

    spec = graph.spec
    model = build(spec)
    serving_dir, exported = directory / "model" / "Format-Serving", directory / "exported"
    saved_model.write_saved_model(model, spec, graph.directory, str(serving_dir))
    transform_output = tft.TFTransformOutput(graph.directory)
    features = raw_features(transform_output, spec)
    requests = [serialize(row) for row in graph.rows]
    parsed = tf.io.parse_example(requests, {each.name: each.parsing for each in features})
    inputs = model_inputs(transform_output.transform_features_layer()(parsed), spec)
    calibration = {name: values.numpy() for name, values in inputs.items()}
    export_models({"student": (model, variants)}, calibration, spec, str(exported))
    write_preprocessing(transform_output, spec, features, str(exported / "preprocessing"))
    warmup.write_requests(requests[:2], features, str(exported / "warmup"))
    return str(serving_dir), exported


def push(graph: SimpleNamespace, directory: Path, variants: Sequence[Any] = FLOAT32) -> Path:
    """Export and push a model; the destination."""
    serving_dir, exported = export(graph, directory, variants)
    push_exported(serving_dir, exported, list(variants), str(directory / "pushed"))
    return directory / "pushed"


def write_json_lines(
    path: Path, rows: Sequence[dict[str, list[Any]]], names: Sequence[str]
) -> Path:
    """Rows as a client would write them; images go to files beside."""
    lines = []
    for at, row in enumerate(rows):
        line: dict[str, Any] = {}
        for name in names:
            values = [_plain(value, path, f"{name}_{at}") for value in row[name]]
            if values:
                line[name] = values if len(values) > 1 else values[0]
        lines.append(json.dumps(line, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n")
    return path


def _plain(value: Any, path: Path, image: str) -> Any:
    if not isinstance(value, bytes):
        return value
    if value.startswith(b"\x89PNG"):
        (path.parent / f"{image}.png").write_bytes(value)
        return f"{image}.png"
    return value.decode()
