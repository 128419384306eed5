"""The campaign of kills: what it reads of a run, and a bounded part of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from bench import chaos

SHOWN = """\
pipeline digits in run1, all messages in run1/run.log
    checking data and models
ExampleGen            cached
TeacherTrainer      
    taken up again behind epoch 3
TeacherTrainer        12.5 s
TeacherTrainer-2       3.0 s
SoftTargets         """  # noqa: W291


@pytest.fixture
def campaign(tmp_path: Path) -> chaos.Campaign:
    return chaos.Campaign(tmp_path)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that has shown this, and is gone."""
    monkeypatch.setattr(chaos, "COMMAND", "/bin/true")
    run = chaos.Run(tmp_path / "out", tmp_path / "shown", {})
    run.process.wait()
    (tmp_path / "shown").write_text(SHOWN)
    return run


def test_a_run_is_read_node_by_node(run: Any) -> None:
    assert [*run.sections] == ["ExampleGen", "TeacherTrainer", "TeacherTrainer-2", "SoftTargets"]
    assert run.took == {"TeacherTrainer": 12.5, "TeacherTrainer-2": 3.0}
    assert run.reaches("SoftTargets") and not run.reaches("Exporter")


def test_a_training_that_was_saved_has_to_be_taken_up(campaign: Any, run: Any) -> None:
    campaign.check_progress(run, {"TeacherTrainer", "TeacherTrainer-2", "SoftTargets"})
    what = "a training goes on behind its last saved epoch"
    assert (campaign.tried[what], campaign.held[what]) == (2, 1)


def test_a_training_is_killed_behind_a_state_of_its_own(campaign: Any) -> None:
    state = campaign.output / "pipeline_root" / "Distiller" / "resume" / "a" / "b" / "state.npz"
    assert not campaign.saved_since("Distiller", 0)
    state.parent.mkdir(parents=True)
    state.touch()
    saved = state.stat().st_mtime
    assert campaign.saved_since("Distiller", saved - 1) and not campaign.saved_since("Control", 0)
    assert not campaign.saved_since("Distiller", saved + 1)


def test_what_has_finished_must_not_run_again(campaign: Any, run: Any) -> None:
    campaign.check_progress(run, set())
    assert campaign.tried == {}
    campaign.check_progress(run, set())
    what = "a node that has finished is not run again"
    assert (campaign.tried[what], campaign.held[what]) == (1, 0)


def test_a_directory_is_put_back_as_it_was(campaign: Any) -> None:
    def attempt(name: str, back: bool) -> None:
        with campaign.kept() as restore:
            campaign.output.mkdir(exist_ok=True)
            (campaign.output / name).touch()
            campaign._finished.add(name)
            if back:
                restore()

    attempt("missed", back=True)
    assert not campaign.output.exists()
    attempt("hit", back=False)
    attempt("missed", back=True)
    assert [path.name for path in campaign.output.iterdir()] == ["hit"]
    assert campaign._finished == {"hit"} and not (campaign.base / "kept").exists()


def test_the_table_is_written_where_the_page_has_its_marks(
    campaign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- chaos -->\nformer\n<!-- /chaos -->\nafter\n")
    monkeypatch.setattr(chaos, "PAGE", page)
    campaign.check("it holds", True)
    campaign.check("it holds", False)
    campaign.kills["Exporter", "SIGTERM"] += 2
    chaos.write_page(chaos.table(campaign))
    before, _, rows = page.read_text().partition("<!-- chaos -->")
    assert before == "before\n" and rows.endswith("<!-- /chaos -->\nafter\n")
    assert "| it holds | 2 | 1 |" in rows and "former" not in rows
    assert "| Exporter | 0 | 2 | 0 |" in rows


@pytest.mark.thorough
@pytest.mark.slow
def test_the_same_command_goes_on_after_each_signal(campaign: Any) -> None:
    """In a training, in the export and in the judgment; `make chaos` does so in every node."""
    chaos.kill(campaign, signal.SIGKILL, "Distiller", 2)
    chaos.kill(campaign, signal.SIGTERM, "Exporter", 1)
    chaos.kill(campaign, signal.SIGINT, "Evaluator", 2)
    campaign.succeed("kills")
    assert campaign.kills.total() == 3
    assert campaign.tried == campaign.held
