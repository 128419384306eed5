"""Kills runs at random moments and breaks what is around them; counts what was tried and what held.

    make chaos ARGS='--kills 30 --seed 1'

A chain is one output directory: the same command is killed again and again, and then has to
succeed. The table in docs/reliability.md is written anew.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
COMMAND = Path(sys.executable).with_name("tfx-distill")
SETTINGS = (
    "teacher.parameters={widths: [8, 16], blocks: 1}",
    "teacher.train.epochs=4",
    "student.train.epochs=6",
    "latency={processes: 3, blocks: 3, queries_per_block: 10}",
    "gate={min_accuracy: 0.2, max_tflite_accuracy_drop: 0.5, allow_below_control: true}",
    "runtime.checkpoint_seconds=0",
)
MARK = "TFX_DISTILL_CHAOS"  # environment variable by which the processes of a run are found
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
_STATE = {"RUNNING": 2}  # of an execution in ML Metadata
_GRACE_S = 20.0
_NODE = re.compile(r"^([A-Z]\w+(?:-\d+)?)\s", re.MULTILINE)


class Campaign:
    """One output directory, one temporary directory, and what was seen.

    Attributes:
      tried: How often, by what was asked of the product.
      failed: What did not hold, in words.
    """

    def __init__(self, base: Path):
        self._base = base
        self._chains = 0
        self.tried: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.failed: list[str] = []
        self.nodes: Counter[str] = Counter()
        self.next_chain()

    def next_chain(self) -> None:
        """Begin in a new directory."""
        self._chains += 1
        self.output = self._base / f"run{self._chains}"
        self.temporary = self._base / f"tmp{self._chains}"
        self.temporary.mkdir()

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """The command, in a session of its own."""
        changes = [part for each in SETTINGS for part in ("--set", each)]
        given = {MARK: str(self._base), "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [COMMAND, "run", "digits", *changes, "--output", str(self.output)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | given | environment,
            cwd=self._base,
            start_new_session=True,
        )

    def check(self, what: str, holds: bool, detail: str = "") -> None:
        """Count one thing that was asked."""
        self.tried[what] += 1
        self.held[what] += holds
        if not holds:
            self.failed.append(f"{what}: {detail}")
            print(f"    FAILED {what}: {detail}", flush=True)

    def check_nobody_is_left(self, after: str) -> None:
        """All processes of the run end soon after it."""
        deadline = time.monotonic() + _GRACE_S
        while (left := list(self._processes())) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.check("no process is left", not left, f"after {after}: {left}")

    def _processes(self) -> Iterator[str]:
        mark = f"{MARK}={self._base}".encode()
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (directory / "environ").read_bytes().split(b"\0"):
                    yield (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # ended meanwhile, or another user's

    def check_result(self, process: subprocess.Popen[str], shown: str) -> None:
        """After a command that was left alone: it succeeds, and everything is closed."""
        end = shown.strip().splitlines()[-1:] or [""]
        self.check("the same command goes on", process.returncode == 0, end[0])
        query = f"SELECT COUNT(*) FROM Execution WHERE last_known_state = {_STATE['RUNNING']}"
        with closing(sqlite3.connect(self.output / "metadata.sqlite")) as store:
            (running,) = store.execute(query).fetchone()
        self.check("no execution stays RUNNING", running == 0, f"{running} are")
        left = sorted(path.name for path in self.temporary.iterdir())
        self.check("nothing is left in TMPDIR", not left, str(left))
        self.check_nobody_is_left("success")


def kill(campaign: Campaign, number: signal.Signals, after_s: float) -> bool:
    """Send a signal to a run after some time; whether it came in time."""
    process = campaign.start()
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        pass
    else:
        return False
    # A terminal sends Ctrl-C to all processes of the command.
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, shown = process.communicate()
    nodes = _NODE.findall(shown)
    node = nodes[-1] if nodes else "before the first node"
    print(f"  {number.name} after {after_s:.0f} s in {node}: {process.returncode}", flush=True)
    if process.returncode in (0, 3):
        return False  # It had ended already.
    campaign.nodes[node] += 1
    campaign.tried[f"{number.name} at a random moment"] += 1
    campaign.held[f"{number.name} at a random moment"] += 1
    expected = CODES[number]
    campaign.check("the exit code names the signal", process.returncode == expected, shown[-300:])
    if number != signal.SIGKILL:
        errors = [line for line in shown.splitlines() if line.startswith("error: ")]
        campaign.check("the end is one line", len(errors) == 1, shown[-300:])
        left = sorted(path.name for path in campaign.temporary.iterdir())
        campaign.check("nothing is left in TMPDIR", not left, str(left))
    campaign.check_nobody_is_left(number.name)
    return True


def kills(campaign: Campaign, count: int, moment: Callable[[], float], most: int) -> None:
    """Chains of up to `most` kills, each of which has to end with success.

    `moment` gives the seconds before a kill.
    """
    done = 0
    while done < count:
        for _ in range(min(most, count - done)):
            if not kill(campaign, SIGNALS[done % len(SIGNALS)], moment()):
                break
            done += 1
        begin = time.monotonic()
        process = campaign.start()
        _, shown = process.communicate()
        campaign.check_result(process, shown)
        seconds = time.monotonic() - begin
        print(f"  left alone: {process.returncode} after {seconds:.0f} s", flush=True)
        campaign.next_chain()


def two_at_once(campaign: Campaign) -> float:
    """A second run in the same directory is refused, and the first does not notice.

    Returns the seconds of the first.
    """
    begin = time.monotonic()
    first = campaign.start()
    while not (campaign.output / "metadata.sqlite").exists() and first.poll() is None:
        time.sleep(0.1)
    second = campaign.start()
    _, shown = second.communicate()
    lines = [line for line in shown.splitlines() if line.startswith("error: ")]
    refused = second.returncode == 1 and len(lines) == 1 and "must not be in use" in lines[0]
    campaign.check("a second run at once is refused in one line", refused, shown[-300:])
    _, shown = first.communicate()
    seconds = time.monotonic() - begin
    campaign.check_result(first, shown)
    campaign.next_chain()
    return seconds


def unwritable(campaign: Campaign) -> None:
    """An output directory below a file, as a directory that root may write to is none."""
    campaign.output = Path("/proc/tfx-distill")
    process = campaign.start()
    _, shown = process.communicate()
    refused = process.returncode == 2 and shown.count("error: ") == 1
    campaign.check("an unwritable directory is refused in one line", refused, shown[-300:])
    campaign.next_chain()


def full_disk(campaign: Campaign, dice: random.Random) -> None:
    """A run on a small disk that fills up; with more room the same command goes on."""
    with small_disk(campaign.output, dice.randint(1, 3)) as grow:
        process = campaign.start()
        _, shown = process.communicate()
        errors = [line for line in shown.splitlines() if line.startswith("error: ")]
        said = process.returncode == 1 and len(errors) == 1
        campaign.check("a full disk is one line", said, shown[-400:])
        print(f"  {errors}", flush=True)
        campaign.check_nobody_is_left("a full disk")
        grow()
        process = campaign.start()
        _, shown = process.communicate()
        campaign.check_result(process, shown)
    campaign.next_chain()


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Callable[[], object]]:
    """A file system of some megabytes in memory; gives a function that makes it large."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "chaos", str(directory)]
    subprocess.run(mount, check=True)
    grow = ["mount", "-o", "remount,size=2g", str(directory)]
    try:
        yield lambda: subprocess.run(grow, check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=False)


def table(campaign: Campaign) -> str:
    """Markdown."""
    rows = ["| what was tried | times | held |", "|---|---:|---:|"]
    rows += [f"| {what} | {n} | {campaign.held[what]} |" for what, n in campaign.tried.items()]
    nodes = ", ".join(f"{node} {count}" for node, count in sorted(campaign.nodes.items()))
    return "\n".join([*rows, "", f"Kills by node: {nodes}."])


def write_page(text: str) -> None:
    """Put the table where the page has its marks."""
    begin, end = "<!-- chaos -->\n", "<!-- /chaos -->\n"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chain", type=int, default=5, help="kills before a run is left alone")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    campaign = Campaign(base)
    try:
        unwritable(campaign)
        seconds = two_at_once(campaign)
        try:
            full_disk(campaign, dice)
        except subprocess.CalledProcessError:
            print("  no small file system can be mounted here: not tried", flush=True)
            campaign.next_chain()
        kills(campaign, arguments.kills, lambda: dice.uniform(2, seconds), arguments.chain)
    except KeyboardInterrupt:
        print("  interrupted: the table is of what was tried before")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(table(campaign))
    if arguments.write:
        write_page(table(campaign))
    return 1 if campaign.failed else 0


if __name__ == "__main__":
    sys.exit(main())
