"""The emulated KFP backend against what KFP's own driver and launcher were seen to do."""

from __future__ import annotations

from pathlib import Path

from kfp_backend import Backend
from kfp_components import compiled
from kfp_records import neutral, recorded
from kfp_zoo import zoo


def test_the_emulator_makes_of_commands_what_kfp_makes_of_them(tmp_path: Path) -> None:
    run = Backend(tmp_path / "scratch").run(
        compiled(zoo, tmp_path), pipeline_root="s3://bucket/root"
    )
    assert run.state == "SUCCEEDED", run.problems()
    found = {}
    for name, record in run.tasks.items():
        (attempt,) = record.attempts
        found[name] = neutral(attempt.command[1:], disk=str(attempt.log.parent))
    assert found == recorded("kfp_zoo")
