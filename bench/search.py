"""What does a search cost, in trainings of the student that it chooses?

    make bench-search

Runs the preset `mnist` twice in one directory, so that the second run takes data, teacher and soft
targets from the cache, with 20 candidates each:

- students: 20 widths of the student, one objective;
- both: 11 widths, then 9 more objectives of the one that is chosen.

A search is the node Search, from TFX's message that it begins to the one that it has ended: the
students are built, converted and timed, and trained. A training is the node Distiller of the same
run, which trains the chosen student for all its epochs. Seconds are wall time and processor time,
child processes included.

Writes bench/search.json and the table in docs/search.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.pipeline import NodeTimes
from bench.sections import replace_section
from modules.judge import evidence
from modules.search.results import SearchResults
from pipeline.cli import main as cli

ROOT = Path(__file__).parent
RESULTS, DOCUMENT = ROOT / "search.json", ROOT.parent / "docs" / "search.md"
PARTS, KINDS = ("search", "training"), ("wall", "cpu")
PRESET, FILTERS = "mnist", (16, 32, 64, 64)
SHARES = tuple(step / 8 for step in range(2, 22))
CASES = {
    "20 students": (SHARES, ()),
    "11 students, then 9 objectives": (
        SHARES[::2] + SHARES[-1:],
        ("distill.alpha=auto", "distill.temperature=auto", "distill.methods=auto"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    # In this process and not in a child of it: the nodes' times are taken here.
    cli.supervised = lambda work, log_file: work()
    with tempfile.TemporaryDirectory() as directory:
        cases = {
            name: searched(Path(directory), shares, overrides)
            for name, (shares, overrides) in CASES.items()
        }
    results = {"cases": cases, "environment": evidence.environment().model_dump()}
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(cases))
    if arguments.output == RESULTS:
        replace_section(DOCUMENT, "search", table(cases))


def searched(directory: Path, shares: tuple[float, ...], overrides: tuple[str, ...]) -> Any:
    """Seconds of the search and of the training of what it has chosen."""
    times = NodeTimes(time.time())
    logging.getLogger("absl").addHandler(times)
    students = [
        {"parameters": {"filters": [round(share * each) for each in FILTERS]}} for share in shares
    ]
    given = [f"search.students={json.dumps(students)}", *overrides]
    try:
        cli.main(
            ["run", PRESET, "--output", str(directory)]
            + [part for override in given for part in ("--set", override)]
        )
    except SystemExit as end:
        # A refused student took as long as one that was pushed.
        if end.code not in (0, 3):
            raise
    finally:
        logging.getLogger("absl").removeHandler(times)
    files = directory.glob("pipeline_root/Search/tuner_results/*/*.json")
    # In folders with the numbers of their executions.
    file = max(files, key=lambda path: int(path.parent.name))
    found = SearchResults.model_validate_json(file.read_text()).students
    search, training = times.seconds["Search"], times.seconds["Distiller"]
    return {
        "candidates": len(found),
        "refused": sum(each.state == "refused" for each in found),
        "chosen": next(each.name for each in found if each.state == "chosen"),
        "search": {"wall": round(search[0], 1), "cpu": round(search[1], 1)},
        "training": {"wall": round(training[0], 1), "cpu": round(training[1], 1)},
        "ratio": {
            "wall": round(search[0] / training[0], 2),
            "cpu": round(search[1] / training[1], 2),
        },
    }


def table(cases: dict[str, Any]) -> str:
    """One row for each case."""
    rows = []
    for name, each in cases.items():
        seconds = [f"{each[part][kind]:.0f} s" for part in PARTS for kind in KINDS]
        ratios = [f"{each['ratio'][kind]:.1f}" for kind in KINDS]
        rows.append((name, each["refused"], *seconds, *ratios))
    header = (
        *("20 candidates", "refused untrained", "search", "its processor time"),
        *("one training", "its processor time", "search / training", "by processor time"),
    )
    return tabulate(rows, header, "pipe")


if __name__ == "__main__":
    main()
