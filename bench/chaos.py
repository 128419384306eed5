"""Kills runs in every node and breaks what is around them; counts what was tried and what held.

    make chaos ARGS='--kills 30 --seed 1'

A chain is one output directory: the same command is killed again and again, and then has to
succeed. One chain is killed in every node by every signal, others at random moments. With
--parts containers --image NAME the containers of the compiled pipeline are killed, too.
With --write the table in docs/reliability.md is written anew, by an interrupted campaign, too.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
COMMAND = Path(sys.executable).with_name("tfx-distill")
SETTINGS = (
    "data.max_labels=null",
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
PARTS = ("clock", "disks", "slow", "user", "nodes", "moments")
CONTAINERS = "containers"
_RUNNING = 2  # the state of an execution in ML Metadata
_GRACE_S = 20.0
_LONGEST_S = 900.0
_SHORT_S = 1.5
_TRIES = 4
_NOBODY = 65534
# Runs what follows as that user, without HOME, with few open files, and new files for him alone.
_AS_NOBODY = (
    *("env", "-u", "HOME", "prlimit", "--nofile=64"),
    *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
    *("sh", "-c", 'umask 077; exec "$@"', "sh"),
)
BEFORE = "before the first node"
_NODE = re.compile(r"^([A-Z]\w+(?:-\d+)?)\s", re.MULTILINE)
_TOOK = re.compile(r"^([A-Z]\w+(?:-\d+)?) +([\d.]+) s$", re.MULTILINE)
_TAKEN_UP = "taken up again"
_NEVER_CACHED = {"Pusher"}
_TRAINED = {"TeacherTrainer", "Distiller", "Control"}


class Run:
    """The command, in a session of its own; what it shows can be read while it goes on."""

    def __init__(
        self,
        output: Path,
        shown: Path,
        environment: Mapping[str, str],
        *changes: str,
        prefix: Sequence[str] = (),
    ):
        self._shown = shown
        settings = [part for each in (*SETTINGS, *changes) for part in ("--set", each)]
        with shown.open("w") as stderr:
            self.process = subprocess.Popen(
                [*prefix, COMMAND, "run", "digits", *settings, "--output", str(output)],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=os.environ | dict(environment),
                cwd=shown.parent,
                start_new_session=True,
            )

    @property
    def shown(self) -> str:
        """What it has shown so far."""
        return self._shown.read_text(errors="replace")

    @property
    def errors(self) -> list[str]:
        """The lines that say what was wrong."""
        return [line for line in self.shown.splitlines() if line.startswith("error: ")]

    @property
    def sections(self) -> dict[str, str]:
        """What was shown of each node."""
        _, *parts = _NODE.split(self.shown)
        found: dict[str, str] = {}
        for node, text in zip(parts[::2], parts[1::2], strict=True):
            found[node] = found.get(node, "") + text
        return found

    @property
    def took(self) -> dict[str, float]:
        """The seconds of every node that has finished and was not cached."""
        return {node: float(seconds) for node, seconds in _TOOK.findall(self.shown)}

    def wait(self, seconds: float = _LONGEST_S) -> bool:
        """Whether it ends within this time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def reaches(self, node: str) -> bool:
        """Wait for a node to begin; whether it has, before the command ended."""
        deadline = time.monotonic() + _LONGEST_S
        while node not in self.sections and time.monotonic() < deadline:
            if self.wait(0.01):
                return False
        return node in self.sections

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a terminal sends Ctrl-C to all processes of the command."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)


class Campaign:
    """One output directory after another, and what was seen.

    Attributes:
      base: Where all of it lies.
      prefix: What starts the command, in this chain.
      tried: How often, by what was asked of the product.
      held: The same, of what it has kept.
      kills: How often each signal has ended a run, by the node that was running.
    """

    def __init__(self, base: Path):
        self.base = base
        self._chains = 0
        self.tried: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.kills: Counter[tuple[str, str]] = Counter()
        self.next_chain()

    def next_chain(self) -> None:
        """Begin in a new directory."""
        self._chains += 1
        self.output = self.base / f"run{self._chains}"
        self.temporary = self.base / f"tmp{self._chains}"
        self.temporary.mkdir()
        self._runs: list[Run] = []
        self._finished: set[str] = set()
        self.prefix: Sequence[str] = ()

    @contextmanager
    def kept(self) -> Iterator[Callable[[], None]]:
        """Keep a copy of the output directory; yields what puts it back."""
        copy, finished = self.base / "kept", set(self._finished)
        if self.output.exists():
            shutil.copytree(self.output, copy, symlinks=True)

        def restore() -> None:
            shutil.rmtree(self.output, ignore_errors=True)
            if copy.exists():
                copy.rename(self.output)
            self._finished = finished

        try:
            yield restore
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    def start(self, *changes: str, **environment: str) -> Run:
        """The command, once more."""
        given = {MARK: str(self.base), "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)}
        shown = self.base / f"stderr{self._chains}.{len(self._runs)}"
        run = Run(self.output, shown, given | environment, *changes, prefix=self.prefix)
        self._runs.append(run)
        return self._runs[-1]

    def forget(self) -> None:
        """What has finished may be done again."""
        self._finished.clear()

    def end(self) -> None:
        """Leave no run behind when the campaign is interrupted."""
        for run in self._runs:
            if run.process.poll() is None:
                run.process.terminate()
                run.wait()

    def check(self, what: str, holds: bool, detail: object = "") -> bool:
        """Count one thing that was asked; returns whether it holds."""
        self.tried[what] += 1
        self.held[what] += holds
        if not holds:
            print(f"    FAILED {what}: {detail}", flush=True)
        return holds

    def check_nobody_is_left(self, after: str) -> None:
        """All processes of the run end soon after it."""
        deadline = time.monotonic() + _GRACE_S
        while (left := list(self._processes())) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.check(f"no process is left {_GRACE_S:.0f} seconds later", not left, (after, left))

    def _processes(self) -> Iterator[str]:
        mark = f"{MARK}={self.base}".encode()
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (directory / "environ").read_bytes().split(b"\0"):
                    yield (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # ended meanwhile, or another user's

    def check_temporary(self) -> None:
        """Of a command that could still clean up."""
        left = sorted(path.name for path in self.temporary.iterdir())
        self.check("nothing is left in `$TMPDIR`", not left, left)

    def trained(self) -> set[str]:
        """Nodes with the state of a training that is not yet written as a model."""
        states = self.output.glob("pipeline_root/*/resume/*/*/state.npz")
        return {
            each.parents[3].name for each in states if not (each.parents[1] / "exported").exists()
        }

    def saved_since(self, node: str, moment: float) -> bool:
        """Whether the state of a node's training was saved after a time of the clock."""
        with suppress(FileNotFoundError):
            states = self.output.glob(f"pipeline_root/{node}/resume/*/*/state.npz")
            return any(each.stat().st_mtime > moment for each in states)
        return False

    def check_progress(self, run: Run, trained: set[str]) -> None:
        """What was done before this run is not done again, but for the nodes of `_NEVER_CACHED`."""
        again = self._finished & set(run.took) - _NEVER_CACHED
        if self._finished & set(run.sections):
            self.check("a node that has finished is not run again", not again, again)
        for node in trained & set(run.took):
            taken_up = _TAKEN_UP in run.sections[node]
            self.check("a training goes on behind its last saved epoch", taken_up, node)
        self._finished |= set(run.took)

    def succeed(self, after: str, **environment: str) -> Run:
        """A command that is left alone: it succeeds, and everything is closed."""
        begin, trained = time.monotonic(), self.trained()
        run = self.start(**environment)
        run.wait()
        self.check_success(run, after)
        self.check_progress(run, trained)
        print(f"  {after}: {run.process.returncode}, {time.monotonic() - begin:.0f} s", flush=True)
        return run

    def check_success(self, run: Run, after: str) -> None:
        """A command that was left alone has ended as it should."""
        end = run.shown.strip().splitlines()[-1:]
        self.check(f"after {after} the same command succeeds", run.process.returncode == 0, end)
        running = self._open_executions()
        self.check("no execution stays `RUNNING`", running == 0, f"{running} are")
        self.check_temporary()
        self.check_nobody_is_left("success")

    def _open_executions(self) -> int:
        query = f"SELECT COUNT(*) FROM Execution WHERE last_known_state = {_RUNNING}"
        try:
            with closing(sqlite3.connect(self.output / "metadata.sqlite")) as store:
                return int(store.execute(query).fetchone()[0])
        except sqlite3.Error:
            return -1


def kill(
    campaign: Campaign, number: signal.Signals, node: str, after_s: float, **environment: str
) -> None:
    """Send a signal to a run some time after a node has begun; after the start if it is ""."""
    began, trained = time.time(), campaign.trained()
    run = campaign.start(**environment)
    if node and not run.reaches(node):
        campaign.check(f"a run reaches the node {node}", run.process.returncode == 0, run.errors)
        return
    while node in _TRAINED and not campaign.saved_since(node, began) and not run.wait(0.02):
        pass  # so that the next one has something to go on from
    if run.wait(after_s):
        campaign.check_progress(run, trained)
        return  # It was faster.
    run.send(number)
    campaign.check("a signal ends a run within a minute", run.wait(60), (number, node))
    run.wait()
    code = run.process.returncode
    if code in (0, 3):
        return  # It had ended already.
    during = [*run.sections][-1:] or [BEFORE]
    print(f"  {number.name} in {during[0]}: {code}", flush=True)
    campaign.kills[during[0], number.name] += 1
    if number != signal.SIGKILL:
        said = code == CODES[number] and len(run.errors) == 1
        what = "SIGTERM" if number == signal.SIGTERM else "Ctrl-C"
        campaign.check(f"{what}: exit code {CODES[number]} and one line", said, (code, run.errors))
        campaign.check_temporary()
    campaign.check_nobody_is_left(number.name)
    campaign.check_progress(run, trained)


def kill_matrix(campaign: Campaign, took: Mapping[str, float], dice: random.Random) -> None:
    """Every signal before the first and in every node, then the same command has to succeed.

    A node that was faster than the signal is tried again, from how things were before.
    """
    # Python has begun after two seconds, but nothing is imported yet.
    delays = {"": (2.0, 4.0)}
    # Early, or a node that is fast today has ended.
    delays |= {
        node: (0, 0 if each < _SHORT_S or node in _TRAINED else each / 3)
        for node, each in took.items()
    }
    for node, delay in delays.items():
        for number in SIGNALS:
            for _ in range(_TRIES):
                before = campaign.kills[node or BEFORE, number.name]
                with campaign.kept() as restore:
                    kill(campaign, number, node, dice.uniform(*delay))
                    if campaign.kills[node or BEFORE, number.name] > before:
                        break
                    restore()
    campaign.succeed("kills node by node")


def kills(campaign: Campaign, count: int, moment: Callable[[], float], most: int) -> None:
    """Chains of up to `most` kills at random moments, each of which has to end with success."""
    for done in range(count):
        kill(campaign, SIGNALS[done % len(SIGNALS)], "", moment())
        if (done + 1) % most == 0 or done + 1 == count:
            campaign.succeed("kills at random moments")
            campaign.next_chain()


def two_at_once(campaign: Campaign) -> tuple[Run, float]:
    """A second run in the same directory is refused, and the first does not notice.

    Returns the first and its seconds.
    """
    begin = time.monotonic()
    first = campaign.start()
    first.reaches("ExampleGen")
    second = campaign.start()
    second.wait()
    refused = second.process.returncode == 1 and len(second.errors) == 1
    refused = refused and "must not be in use" in second.errors[0]
    campaign.check("a second run at once is refused in one line", refused, second.shown[-300:])
    first.wait()
    seconds = time.monotonic() - begin
    campaign.check_success(first, "a second run at once")
    print(f"  two at once: {first.process.returncode}, {seconds:.0f} s", flush=True)
    return first, seconds


def preloaded(campaign: Campaign, name: str) -> str | None:
    """Compile a library that changes how a process sees the machine; None without a compiler."""
    library = campaign.base / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        print(f"  there is no C compiler: {name} is not tried", flush=True)
        return None
    return str(library)


def slow_files(campaign: Campaign) -> None:
    """A run on a slow file system: the lock holds, and it goes on after kills, to the end."""
    library = preloaded(campaign, "slow_files")
    if library is None:
        return
    slow = {"LD_PRELOAD": library, "SLOW_FILES": str(campaign.output)}
    for node, number in zip(("Transform", "Distiller", "Exporter"), SIGNALS, strict=True):
        kill(campaign, number, node, 1, **slow)
    campaign.succeed("kills on a slow file system", **slow)


def another_user(campaign: Campaign) -> None:
    """A run as a user who can write to nothing but its own directories, the checkout included."""
    if os.geteuid():
        print("  only root can be another user: not tried", flush=True)
        return
    if subprocess.run([*_AS_NOBODY, COMMAND, "presets"], capture_output=True).returncode:
        print("  another user cannot start this Python: not tried", flush=True)
        return
    campaign.output.mkdir()
    for directory in (campaign.output, campaign.temporary):
        os.chown(directory, _NOBODY, _NOBODY)
    campaign.prefix = _AS_NOBODY
    campaign.succeed("a start as another user, umask 077, 64 open files, no HOME,")


def clock_back(campaign: Campaign) -> None:
    """The clock jumps back by two days in the middle of a run, in a directory that has been run."""
    jump, library = campaign.base / "jump", preloaded(campaign, "clock_back")
    if library is None:
        return
    before = _versions(campaign.output)
    change = "student.train.epochs=5"
    run = campaign.start(change, LD_PRELOAD=library, CHAOS_CLOCK=str(jump))
    run.reaches("Distiller")
    jump.touch()
    run.wait()
    newer = set(_versions(campaign.output)) - set(before)
    pushed = run.process.returncode == 0 and len(newer) == 1 and min(newer) > max(before, default=0)
    end = run.shown.strip().splitlines()[-1:]
    campaign.check(
        "the clock jumps back two days in a run: it pushes a newer version", pushed, (end, newer)
    )
    campaign.check_temporary()
    print(f"  clock back: {run.process.returncode}", flush=True)


def _versions(output: Path) -> list[int]:
    return [int(each.name) for each in output.glob("pushed/saved_model/*")]


def damaged_metadata(campaign: Campaign) -> None:
    """The database is overwritten: one line, after which the same command begins anew."""
    with (campaign.output / "metadata.sqlite").open("r+b") as database:
        database.seek(8192)
        database.write(b"?" * 4096)
    run = campaign.start()
    run.wait()
    said = run.process.returncode == 1 and len(run.errors) == 1 and "damaged" in run.errors[0]
    campaign.check("a damaged `metadata.sqlite` is one line", said, run.shown[-400:])
    campaign.forget()
    campaign.succeed("a damaged `metadata.sqlite`")


def unwritable(campaign: Campaign) -> None:
    """An output directory below /proc, as a directory that root may write to is none."""
    campaign.output = Path("/proc/tfx-distill")
    _refused(campaign)
    with small_disk(campaign.base / "read_only", 1) as disk:
        disk.remount("ro")
        campaign.output = disk.directory / "run"
        _refused(campaign)


def _refused(campaign: Campaign) -> None:
    run = campaign.start()
    run.wait()
    refused = run.process.returncode == 2 and len(run.errors) == 1
    what = "a directory that cannot be written is refused in one line"
    campaign.check(what, refused, run.shown[-300:])


def full_disk(campaign: Campaign, megabytes: int) -> None:
    """A run on a small disk that fills up; with more room the same command goes on."""
    with small_disk(campaign.output, megabytes) as disk:
        run = campaign.start()
        run.wait()
        said = run.process.returncode == 1 and len(run.errors) == 1
        campaign.check("a full disk is one line", said, run.shown[-400:])
        print(f"  {run.errors}", flush=True)
        campaign.check_nobody_is_left("a full disk")
        disk.remount("size=2g")
        campaign.succeed("a full disk")


class Disk:
    """A file system in memory."""

    def __init__(self, directory: Path):
        self.directory = directory

    def remount(self, options: str) -> None:
        """Change how it is mounted."""
        mount = ["mount", "-o", f"remount,{options}", str(self.directory)]
        subprocess.run(mount, check=True)


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Disk]:
    """A file system of some megabytes.

    Raises:
      subprocess.CalledProcessError: None can be mounted here.
    """
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "chaos", str(directory)]
    subprocess.run(mount, check=True)
    try:
        yield Disk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=False)


def table(campaign: Campaign) -> str:
    """Markdown."""
    rows = ["| what was tried | times | held |", "|---|---:|---:|"]
    rows += [f"| {what} | {n} | {campaign.held[what]} |" for what, n in campaign.tried.items()]
    names = [number.name for number in SIGNALS]
    rows += ["", f"| kills in | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    rows += [
        f"| {node} | {' | '.join(str(campaign.kills[node, name]) for name in names)} |"
        for node in dict.fromkeys(node for node, _ in campaign.kills)
    ]
    return "\n".join(rows)


def write_page(text: str) -> None:
    """Put the table where the page has its marks."""
    begin, end = "<!-- chaos -->\n", "<!-- /chaos -->\n"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def broken_disks(campaign: Campaign, dice: random.Random) -> None:
    """Where nothing can be written, and where there is not room enough."""
    for attempt in (unwritable, lambda each: full_disk(each, dice.randint(1, 3))):
        campaign.next_chain()
        try:
            attempt(campaign)
        except subprocess.CalledProcessError:
            print("  no file system can be mounted here: not tried", flush=True)


def all_of_it(campaign: Campaign, arguments: argparse.Namespace) -> None:
    """The whole campaign, or parts of it; the first run says how long a node takes."""
    dice = random.Random(arguments.seed)
    if CONTAINERS in arguments.parts:
        from bench.chaos_containers import kill_containers

        kill_containers(campaign, arguments.image, SETTINGS, SIGNALS, arguments.nodes or ())
    if not set(PARTS) & set(arguments.parts):
        return
    first, seconds = two_at_once(campaign)
    if "clock" in arguments.parts:
        clock_back(campaign)
    if "disks" in arguments.parts:
        damaged_metadata(campaign)
        broken_disks(campaign, dice)
    campaign.next_chain()
    if "slow" in arguments.parts:
        slow_files(campaign)
        campaign.next_chain()
    if "user" in arguments.parts:
        another_user(campaign)
        campaign.next_chain()
    if "nodes" in arguments.parts:
        nodes = arguments.nodes or [*first.took]
        kill_matrix(campaign, {node: first.took[node] for node in nodes}, dice)
        campaign.next_chain()
    if "moments" in arguments.parts:
        kills(campaign, arguments.kills, lambda: dice.uniform(2, seconds), arguments.chain)


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chain", type=int, default=5, help="kills before a run is left alone")
    parser.add_argument("--parts", nargs="+", choices=(*PARTS, CONTAINERS), default=PARTS)
    parser.add_argument("--image", help="that Docker has, for the part containers")
    parser.add_argument("--nodes", nargs="+", help="kill in these; by default in each")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    arguments = parser.parse_args()
    if CONTAINERS in arguments.parts and not arguments.image:
        parser.error("--parts containers needs --image")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    base.chmod(0o755)
    campaign = Campaign(base)
    try:
        all_of_it(campaign, arguments)
    except KeyboardInterrupt:
        print("  interrupted: the table is of what was tried before")
    finally:
        campaign.end()
        print(table(campaign))
        if arguments.write:
            write_page(table(campaign))
        shutil.rmtree(base, ignore_errors=True)
    return 1 if campaign.tried != campaign.held else 0


if __name__ == "__main__":
    sys.exit(main())
