"""Kills the containers of a compiled pipeline; the same node, tried again, has to go on.

    make chaos ARGS='--parts containers --image tfx-distill:0.1.0'

The compiled preset is walked by `tests/helpers/kfp_backend`; every try of a node is a container of
the image, which shares a directory with this machine and nothing else. A try is killed once its
executor is at work, a training once it has saved a state.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests" / "helpers"))

from kfp_backend import Backend, Image, Run, parse  # noqa: E402
from report_figures import figures  # noqa: E402

_AT_WORK = "Starting executor"
_TAKEN_UP = "taken up again"
_CODES = {signal.SIGKILL: 137, signal.SIGTERM: 143, signal.SIGINT: 130}
_LONGEST_S = 300.0
_SAVED_S = 30.0
# Their executors take less than a signal takes to come, so they are killed while they load.
_SHORT = ("SchemaGen", "ExampleValidator")
_MODEL = re.compile(r"Trainer|Distiller|Control")
_STEP_S = 0.01


class Cluster:
    """The compiled pipeline on an engine that runs containers of an image.

    Attributes:
      home: What the containers share with this machine.
      kills: The signal of every try that was killed, its node, and whether a state was saved.
    """

    def __init__(self, home: Path, image: str, settings: Sequence[str], tries: int):
        from pipeline.clusters.compilation import compile_pipeline
        from pipeline.config import load_config

        self.home = home
        home.mkdir()
        home.chmod(0o777)  # the image's user is not this one
        changes = (
            f"runtime.image={image}",
            "runtime.pipeline_root=gs://none/root",
            "push.destination=gs://none/pushed",
            f"runtime.resources={{default: {{retries: {tries - 1}}}}}",
        )
        self._job = parse(
            compile_pipeline(load_config("digits", (*settings, *changes)), "kubeflow")
        )
        self._image = Image(name=image, volume=home)

    def run(self, before: Callable[[str, int], None] = lambda node, attempt: None) -> Run:
        """Run the pipeline, one container at a time; everything is made anew.

        Args:
          before: Called with a node and the number of the try, from 1 on, before each try.
        """
        backend = Backend(
            self.home / "engine",
            image=self._image,
            workers=1,
            observer=before,
            sleep=lambda seconds: None,
        )
        mask = os.umask(0)
        try:
            return backend.run(
                self._job,
                pipeline_root=str(self.home / "root"),
                parameters={"push_destination": str(self.home / "pushed")},
            )
        finally:
            os.umask(mask)

    def disk(self, node: str, attempt: int) -> Path:
        """Of a try's container."""
        (directory,) = (self.home / "engine").glob(f"*/{node}")
        return directory / f"attempt-{attempt}"

    def states(self, node: str) -> list[Path]:
        """Saved states of a node's training, whose model is not written yet."""
        states = self.home.glob(f"root/*/*/{node}/resume/*/*/state.npz")
        return [each for each in states if not (each.parents[1] / "exported").exists()]


class Killer(threading.Thread):
    """Waits until the container of a try is at work, and sends it a signal.

    Attributes:
      sent: Whether it has been sent to a container that was there.
      saved: Whether a training had saved a state.
    """

    def __init__(self, cluster: Cluster, node: str, attempt: int, number: signal.Signals):
        super().__init__(daemon=True)
        self._cluster, self._node, self._attempt = cluster, node, attempt
        self.number = number
        self.sent = self.saved = False

    def run(self) -> None:
        """Send it, unless the container is faster."""
        disk = self._cluster.disk
        if not self._wait(lambda: self._says(disk(self._node, self._attempt) / "log.txt")):
            return
        if _MODEL.search(self._node):
            # The state of the try before may be there: this one shall be behind it.
            self._wait(lambda: self._newer_state(disk(self._node, self._attempt) / "id"), _SAVED_S)
        self.saved = bool(self._cluster.states(self._node))
        container = (disk(self._node, self._attempt) / "id").read_text()
        done = subprocess.run(
            ["docker", "kill", f"--signal={self.number.name}", container],
            capture_output=True,
            check=False,
        )
        self.sent = done.returncode == 0

    def _wait(self, there: Callable[[], bool], seconds: float = _LONGEST_S) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if there():
                    return True
            except (OSError, ValueError):
                pass  # the container's disk is not there yet
            time.sleep(_STEP_S)
        return False

    def _says(self, log: Path) -> bool:
        shown = log.read_text(errors="replace")
        return _AT_WORK in shown or (self._node in _SHORT and bool(shown))

    def _newer_state(self, container: Path) -> bool:
        began = container.stat().st_mtime
        return any(each.stat().st_mtime > began for each in self._cluster.states(self._node))


def kill_containers(
    campaign: Any,
    image: str,
    settings: Sequence[str],
    signals: Sequence[signal.Signals],
    nodes: Collection[str] = (),
) -> None:
    """Every signal in every node's container, then the node is left alone.

    Args:
      campaign: Counts what was tried and what held.
      image: Of the containers; Docker has it.
      settings: Of the preset `digits`.
      signals: One after another.
      nodes: To kill; all without any.
    """
    tries = len(signals) + 1
    alone = Cluster(campaign.base / "alone", image, settings, tries)
    expected = _verdict(alone.run())
    if not campaign.check("a compiled run in containers succeeds", bool(expected), image):
        return
    cluster = Cluster(campaign.base / "killed", image, settings, tries)
    killers: dict[tuple[str, int], Killer] = {}

    def before(node: str, attempt: int) -> None:
        if attempt <= len(signals) and (not nodes or node in nodes):
            killer = Killer(cluster, node, attempt, signals[attempt - 1])
            killers[node, attempt] = killer
            killer.start()

    run = cluster.run(before)
    for (node, attempt), killer in killers.items():
        killer.join(_LONGEST_S)
        _check_try(campaign, cluster, run, node, attempt, killer)
    campaign.check(
        "after kills of each node's container the same run comes to the same verdict",
        run.state == "SUCCEEDED" and _verdict(run) == expected,
        run.problems(),
    )
    files = [_files(each.home) for each in (alone, cluster)]
    campaign.check(
        "containers that were killed leave no other files than a run without kills",
        files[0] == files[1],
        sorted(files[0] ^ files[1]),
    )
    shown = ["docker", "ps", "--quiet", "--no-trunc"]
    running = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()
    left = {each.read_text() for each in cluster.home.glob("engine/*/*/*/id")} & set(running)
    campaign.check("no container is left", not left, left)


def _check_try(
    campaign: Any, cluster: Cluster, run: Run, node: str, attempt: int, killer: Killer
) -> None:
    """What one try that was to be killed has left."""
    tries = run.tasks[node].attempts
    code, name = tries[attempt - 1].returncode, killer.number.name
    if code == 0 or not killer.sent:
        print(f"  {name} in {node}: it had ended before", flush=True)
        return
    print(f"  {name} in {node}: {code}{', state saved' if killer.saved else ''}", flush=True)
    campaign.kills[f"{node} (container)", name] += 1
    shown = (cluster.disk(node, attempt) / "log.txt").read_text(errors="replace")
    if killer.number != signal.SIGKILL:
        lines = [line for line in shown.splitlines() if line.startswith("error: ")]
        said = code == _CODES[killer.number] and len(lines) == 1
        what = f"{name} to a container: exit code {_CODES[killer.number]} and one line"
        campaign.check(what, said, (node, code, lines))
        left = sorted(path.name for path in (cluster.disk(node, attempt) / "tmp").iterdir())
        campaign.check("nothing is left in a container's `$TMPDIR`", not left, (node, left))
    if killer.saved:
        after = (cluster.disk(node, attempt + 1) / "log.txt").read_text(errors="replace")
        what = "a training in a container goes on behind its last saved epoch"
        campaign.check(what, _TAKEN_UP in after, node)


def _verdict(run: Run) -> dict[str, Any]:
    """Of a run's report; empty without one."""
    if run.state != "SUCCEEDED":
        print(run.problems(), flush=True)
        return {}
    uri = run.tasks["Evaluator"].outputs.artifacts["evaluation"].uri
    return figures(json.loads(Path(uri, "report.json").read_text(encoding="utf-8")))


def _files(home: Path) -> set[str]:
    """Names of all artifacts' files; what differs from try to try is left out."""
    names = (str(path.relative_to(home)) for path in (home / "root").rglob("*"))
    differs = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=tfevents\.).*")
    return {differs.sub("*", each) for each in names}
