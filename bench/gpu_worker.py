"""One way of bench/gpu.py, in a process of its own: a task as JSON in, its result as JSON out."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from records import image_spec, write_records
from throughput import (
    BEST,
    epochs_of,
    keras_distillation,
    labels_alone,
    ours,
    random_records,
    student,
    student_alone,
)

from modules.data.examples import ExampleData
from modules.models import zoo
from modules.settings import AugmentSettings, DataSettings, ModelSettings, TrainSettings
from modules.teachers import cache, soft_targets

CLASSES = 10
STUDENTS = {
    32: ModelSettings(model="cnn_tutorial"),
    224: ModelSettings(model="keras_application", parameters={"application": "MobileNetV3Small"}),
}
TEACHERS = {
    "resnet50": ModelSettings(model="resnet50"),
    "resnet_small": ModelSettings(
        model="resnet_small", parameters={"widths": [8, 16], "blocks": 1}
    ),
}
EXAMPLES = "examples.gz"


def main(task: dict[str, Any]) -> dict[str, Any]:
    way = task.pop("way")
    if way == "card":
        gpus = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        return {"card": details.get("device_name", "a GPU" if gpus else "")}
    if way == "write":
        records = random_records(task["examples"], (task["size"], task["size"], 3))
        return {"file": write_records(Path(task["directory"], EXAMPLES), records)}
    return measure(way=way, **task)


def measure(
    size: int,
    policy: str,
    xla: bool,
    way: str,
    batch: int,
    rounds: int,
    device: str,
    directory: str,
    teacher: str,
) -> dict[str, float]:
    """Examples per second of one way, its quartiles over rounds, and the peak of its memory."""
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    keras.config.set_dtype_policy(policy)
    spec = image_spec((size, size, 3), CLASSES)
    settings = DataSettings(validation_fraction=0.02)
    files = [str(Path(directory, EXAMPLES))]
    plain = ExampleData(files, spec, settings)
    teaching = zoo.build_model(TEACHERS[teacher], spec.by_name, spec.output)
    soft = Path(directory, f"soft-{policy}")
    request = soft_targets.Request(0, AugmentSettings(), 0)
    if way == "teacher":
        # Two times, since the first compiles; the last one's answers are there for `cached`.
        seconds = [
            timed(lambda: soft_targets.compute([teaching], plain, request, str(soft)))
            for _ in range(rounds + 1)
        ]
    else:
        epochs = epochs_of(plain, batch)
        train = TrainSettings(batch_size=batch, mixed_precision=policy != "float32")
        model = student(STUDENTS[size], spec)
        if way == "student_alone":
            model, epochs = student_alone(model), labels_alone(epochs)
        elif way == "cached":
            known = ExampleData(files, spec, settings, cache.SoftTargetCache(str(soft)))
            model, epochs = ours(model, [], train), epochs_of(known, batch)
        elif way == "online":
            model = ours(model, [teaching], train)
        else:
            model, epochs = keras_distillation(model, teaching, BEST), labels_alone(epochs)
        model.jit_compile = xla
        seconds = [timed(lambda: model.fit(epochs, verbose=0)) for _ in range(rounds + 1)]
    speeds = plain.training_count() / np.array(seconds[1:])
    low, middle, high = np.percentile(speeds, [25, 50, 75])
    return {
        "examples_per_second": float(middle),
        "quartile_low": float(low),
        "quartile_high": float(high),
        "first_round_seconds": seconds[0],
        "peak_memory_mb": peak_memory(device) / 2**20,
    }


def timed(call: Callable[[], Any]) -> float:
    """The seconds that it takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def peak_memory(device: str) -> int:
    """Bytes that were in use at a time, of the GPU's memory or of this machine's."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
