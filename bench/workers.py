"""Do more Beam workers make the data nodes faster, and what would 100 million examples cost?

    make bench-workers
    make bench-workers ARGS='--only table'

10,000 and 100,000 rows of 20 columns (CSV) and images of 32x32x3 (TFRecord) through ExampleGen,
StatisticsGen, Transform and SoftTargets: by one worker, in the node's process as is the default,
and by two workers, processes of their own. Each in a process of its own, in turn. Leave the machine
alone meanwhile: seconds are those of the clock.

The cost of more examples is on paper: processor seconds of one worker are taken for a fixed part
and one that grows with the examples, which two sizes determine.

Writes bench/workers.json and the table in docs/beam.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import data
from bench.sections import replace_section

RESULTS, DOCUMENT = data.ROOT / "workers.json", data.ROOT.parent / "docs" / "beam.md"
COUNTS, WORKERS, MANY = (10_000, 100_000), (1, 2), 100_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=data.COUNTS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=3, metavar=("KIND", "WORKERS", "DIRECTORY"))
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for kind in data.COUNTS:
        if arguments.only not in (None, kind):
            continue
        for count in COUNTS:
            with tempfile.TemporaryDirectory() as directory:
                data.write(kind, count, Path(directory, "data"))
                for workers in WORKERS:
                    found = measured(kind, workers, Path(directory))
                    results[f"{kind}/{count}/{workers}"] = found
                    print(kind, count, workers, json.dumps(found), flush=True)
                    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    if arguments.output == RESULTS:
        replace_section(DOCUMENT, "workers", table(results))


def measured(kind: str, workers: int, directory: Path) -> dict[str, dict[str, float]]:
    """Seconds and processor seconds by node, of a process of its own."""
    out = directory / str(workers)
    out.mkdir()
    with open(out / "output.log", "wb") as log:
        status = subprocess.run(
            [sys.executable, "-m", "bench.workers", "--child", kind, str(workers), str(directory)],
            stdout=log,
            stderr=log,
            cwd=data.ROOT.parent,
            env=os.environ | {"PYTHONPATH": str(data.ROOT.parent)},
            check=False,
        )
    if status.returncode:
        text = (out / "output.log").read_text(errors="replace")
        raise SystemExit(f"{workers} worker(s) failed on {kind}:\n{text[-3000:]}")
    found = json.loads((out / "nodes.json").read_text())
    return {name: found[name] for name in data.NODES}


def child(kind: str, workers: str, directory: str) -> None:
    """Run the nodes in this process and its workers."""
    found = data.meter_nodes()
    many = {"runner": "multi_processing", "workers": int(workers), "soft_targets": True}
    out = Path(directory, workers)
    data.run_ours(kind, Path(directory, "data"), out, {} if workers == "1" else {"local": many})
    (out / "nodes.json").write_text(json.dumps(found))


def table(results: dict[str, Any]) -> str:
    """Markdown: seconds by data, node and workers, and what MANY examples would cost.

    What 90,000 more examples cost one worker is compared with two where it is above five seconds.
    """
    lines = [
        "| data | node | 10,000: 1 worker | 2 | 100,000: 1 worker | 2 | what grows, 1 / 2 | "
        "100 million, one worker |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for kind in data.COUNTS:
        found = {
            (count, workers): results.get(f"{kind}/{count}/{workers}")
            for count in COUNTS
            for workers in WORKERS
        }
        if None in found.values():
            continue
        for node in data.NODES:
            seconds = {key: each[node]["seconds"] for key, each in found.items() if each}
            one, two = (seconds[COUNTS[1], each] - seconds[COUNTS[0], each] for each in WORKERS)
            processor = [found[count, 1][node]["cpu_seconds"] for count in COUNTS]  # type: ignore[index]
            hours = cost(*processor) / 3600
            cells = [kind, node, *(f"{each:,.0f} s" for each in seconds.values())]
            cells += [f"{one / two:.1f}" if one > 5 else "", f"{hours:,.1f} h"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cost(few: float, more: float) -> float:
    """Processor seconds for MANY examples, given those for each of COUNTS."""
    each = (more - few) / (COUNTS[1] - COUNTS[0])
    return few + each * (MANY - COUNTS[0])


if __name__ == "__main__":
    main()
