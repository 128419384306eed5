"""How fast a GPU distills, and in how much memory.

    make bench-gpu

A ResNet50 as the teacher of a small student, at 32x32x3 and at 224x224x3, in float32 and in mixed
precision, with and without XLA. The ways are those of bench/throughput.py, all at the settings
that are best for plain Keras; `teacher` is SoftTargets, which answers every example once. Each way
has a process of its own, so that the peak of the memory is its own. A way that fails, for one
because the memory does not suffice, says so in the table.

Writes bench/gpu.json, after each way, and the table in docs/benchmarks.md. Without a GPU nothing is
measured; `--device cpu --quick --output FILE` tries everything, small.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sections import replace_section
from tabulate import tabulate

ROOT = Path(__file__).parent
WORKER = ROOT / "gpu_worker.py"
# By the side of the images: how many there are, and how many are in a batch.
SIZES, QUICK_SIZES = {32: (16_384, 256), 224: (2_048, 64)}, {32: (128, 32)}
STUDENTS = {32: "cnn_tutorial", 224: "MobileNetV3Small"}
WAYS = {
    "teacher": "teacher",
    "student_alone": "student alone",
    "cached": "cached",
    "online": "online",
    "keras_distillation": "keras.distillation",
}
POLICIES = {"float32": "float32", "mixed_float16": "mixed"}
# Precision, and whether XLA compiles the steps.
MODES = [(policy, xla) for policy in POLICIES for xla in (False, True)]
QUICK_MODES = MODES[-1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="a few small images, small teacher")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, choices=SIZES, help="images of this size alone")
    parser.add_argument("--output", type=Path, help="a JSON file; the documents stay as they are")
    arguments = parser.parse_args()
    card = "the CPU" if arguments.device == "cpu" else in_worker({"way": "card"})["card"]
    if not card:
        sys.exit("TensorFlow sees no GPU; --device cpu --quick tries the measuring without one")
    if arguments.device == "cpu" and not arguments.output:
        sys.exit("--device cpu needs --output: the documents have figures of GPUs alone")
    rounds = 1 if arguments.quick else arguments.rounds
    teacher = "resnet_small" if arguments.quick else "resnet50"
    results: dict[str, Any] = {"card": card, "teacher": teacher, "rounds": rounds, "figures": []}
    output = arguments.output or ROOT / "gpu.json"
    for size, (examples, batch) in (QUICK_SIZES if arguments.quick else SIZES).items():
        if arguments.size not in (None, size):
            continue
        how = {"batch": batch, "rounds": rounds, "device": arguments.device, "teacher": teacher}
        for figure in figures_of(size, examples, how, QUICK_MODES if arguments.quick else MODES):
            print(json.dumps(figure), flush=True)
            results["figures"].append(figure)
            output.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.output:
        print(table(results))
    else:
        replace_section(ROOT.parent / "docs" / "benchmarks.md", "gpu", table(results))


def figures_of(
    size: int, examples: int, how: dict[str, Any], modes: list[tuple[str, bool]]
) -> Iterator[dict[str, Any]]:
    """What each way did, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        in_worker({"way": "write", "size": size, "examples": examples, "directory": directory})
        answered = set()
        for policy, xla in modes:
            for way in WAYS:
                if way == "teacher" and policy in answered:
                    continue  # XLA is nothing to SoftTargets
                answered.add(policy)
                what = {"size": size, "policy": policy, "xla": xla, "way": way}
                yield what | in_worker(what | how | {"directory": directory})


def in_worker(task: dict[str, Any]) -> dict[str, Any]:
    """The result of a task in a process of its own, or why there is none."""
    command = [sys.executable, str(WORKER), json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def table(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for each in results["figures"]:
        cells = rows.setdefault((each["size"], each["policy"], each["xla"]), {})
        if "error" in each:
            cells[each["way"]] = "failed"
        else:
            speed, memory = each["examples_per_second"], each["peak_memory_mb"]
            cells[each["way"]] = f"{speed:,.0f} · {memory:,.0f} MB"
    lines = [
        [f"{size}x{size}x3", STUDENTS[size], POLICIES[policy], "yes" if xla else "no"]
        + [cells.get(way, "") for way in WAYS]
        for (size, policy, xla), cells in rows.items()
    ]
    headers = ["images", "student", "precision", "XLA", *WAYS.values()]
    return (
        f"Examples per second and peak memory on **{results['card']}**, {results['teacher']} as "
        f"the teacher, medians over {results['rounds']} rounds.\n\n"
        + tabulate(lines, headers, tablefmt="github", disable_numparse=True, stralign="right")
    )


if __name__ == "__main__":
    main()
