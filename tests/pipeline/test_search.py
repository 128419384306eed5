"""`search:` and `auto`: the sentence that each mistake gets, the node, a search on the digits."""

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modules.errors import ConfigError
from modules.settings import SearchSettings, StudentChoice
from pipeline.config import load_config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search={objective: smallest}", "search: must have something to choose from; set"),
        ("search={students: [], objective: fastest}", "search.students: must list at least one"),
        (
            "search={students: [{model: mlp}, {model: mlp}]}",
            "search.students: must list different students, but number 2 repeats number 1",
        ),
        (
            "search={students: automatic}",
            "search.students: must be auto or a list, got 'automatic'",
        ),
        (
            "search={students: auto, objective: best}",
            "search.objective: must be 'smallest', 'fastest' or 'most_accurate', got 'best'",
        ),
        (
            "search={students: auto, budget: {minutes: 0}}",
            "search.budget.minutes: must be a number above 0 and at most 1,000,000, got 0",
        ),
        (
            "search={students: [{parameters: {filter: [4]}}]}",
            "search.students.0.parameters: separable_cnn takes filters, blocks, dropout",
        ),
        ("search={student: auto}", "search.student: no such key; did you mean 'students'?"),
        ("distill.alpha=Auto", "distill.alpha: must be a number from 0 to 1, got 'Auto'"),
    ],
)
def test_mistakes(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("digits", [override])
    (line,) = str(caught.value).splitlines()
    assert message in line


def test_no_search_is_the_default_and_an_auto_is_one() -> None:
    assert load_config("digits").search_plan is None
    plan = load_config("digits", ["distill.temperature=auto"]).search_plan
    assert plan is not None and plan.students == (load_config("digits").student,)
    override = "search={students: [{parameters: {filters: [4, 8]}}], objective: fastest}"
    assert load_config("digits", [override]).search == SearchSettings(
        students=(StudentChoice(parameters={"filters": [4, 8]}),), objective="fastest"
    )


def test_checking_the_search_loads_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.config as config\n"
        "config.load_config('digits', ['search={students: auto}', 'distill.alpha=auto'])\n"
        "heavy = {'tensorflow', 'keras', 'keras_tuner', 'tfx', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# -- the node --


def graph(*overrides: str) -> dict[str, Any]:
    from pipeline.graph import Places, create_pipeline

    pipeline = create_pipeline(
        load_config("digits", overrides), Places("/pipeline_root", "/pushed")
    )
    return {node.id: node for node in pipeline.components}


def inputs(node: Any) -> dict[str, tuple[str, str]]:
    return {
        key: (channel.producer_component_id, channel.output_key)
        for key, channel in node.inputs.items()
    }


def test_the_search_takes_what_the_distiller_takes_and_feeds_it_and_the_control() -> None:
    plain, searched = graph(), graph("distill.alpha=auto")
    assert searched.keys() - plain.keys() == {"Search"}
    assert inputs(searched["Search"]) == inputs(plain["Distiller"])
    winner = {"hyperparameters": ("Search", "best_hyperparameters")}
    for name, node in plain.items():
        added = winner if name in ("Distiller", "Control", "Evaluator") else {}
        if name == "Evaluator":
            added = {**added, "search": ("Search", "tuner_results")}
        assert inputs(searched[name]) == inputs(node) | added


def test_the_search_is_tfxs_tuner_with_our_module_and_a_plan() -> None:
    from tfx.components.tuner.component import Tuner

    nodes = graph("search={students: auto, budget: {trials: 4}}")
    search = nodes["Search"]
    assert isinstance(search, Tuner)
    assert search.exec_properties["module_path"] == "modules.tuner"
    config = json.loads(search.exec_properties["custom_config"])
    plan = config.pop("search")
    assert len(plan["students"]) == 6 and plan["budget"]["trials"] == 4
    assert plan["limits"]["max_size_bytes"] == 50_000 and plan["needed"] == ["float32"]
    student = json.loads(nodes["Distiller"].exec_properties["custom_config"])
    for each in (config, student):
        for name in ("search", "baseline"):
            each.pop(name, None)
    assert config == student


def test_builders_of_all_candidates_are_in_the_cache_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's builder that only a candidate uses changes, and everything after it runs again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "narrow_students.py"
    module.write_text("def build(inputs, output): ...\n")
    override = "search={students: [{}, {model: 'narrow_students:build'}]}"

    def digests() -> dict[str, str]:
        nodes = graph(override)
        configs = {name: nodes[name].exec_properties["custom_config"] for name in trained}
        return {name: json.loads(config)["builder_digest"] for name, config in configs.items()}

    trained = ("TeacherTrainer", "Search", "Distiller", "Control")
    before = digests()
    module.write_text("def build(inputs, output): return None\n")
    after = digests()
    changed = {name for name in trained if before[name] != after[name]}
    assert changed == {"Search", "Distiller", "Control"}


# -- a run --

SEARCH = (
    "search={students: [{parameters: {filters: [4, 8]}}, {parameters: {filters: [6, 10]}}, "
    "{parameters: {filters: [512, 512]}}], objective: smallest}",
    "distill.alpha=auto",
    "gate={max_accuracy_drop: 1, max_size_bytes: 100000, allow_below_control: true}",
)


class Lines(logging.Handler):
    """Keeps our own messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def searched(miniature_run: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The miniature run with a search, and once more, in a directory of its own.

    With the first one's metadata: what comes before the search is answered from the cache.
    """
    output = tmp_path_factory.mktemp("searched") / "run"
    output.mkdir()
    shutil.copyfile(miniature_run.output / "metadata.sqlite", output / "metadata.sqlite")
    run = dataclasses.replace(miniature_run, output=output, uris={})
    logger, handler = logging.getLogger("tfx_distill"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        run.run(*SEARCH)
        first = SimpleNamespace(states=run.states(), artifacts=run.artifacts())
        lines = list(handler.lines)
        run.run(*SEARCH)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return SimpleNamespace(
        states=first.states,
        states_again=run.states(),
        uris={name: Path(artifact.uri) for name, artifact in first.artifacts.items()},
        lines=lines,
        report=json.loads((output / "report" / "report.json").read_text()),
        page=(output / "report" / "index.html").read_text(),
    )


@pytest.mark.thorough
def test_the_teacher_is_asked_once_for_all_candidates(searched: Any) -> None:
    assert searched.states["Search"] == "COMPLETE"
    # Its answers are those of the run before, in another directory.
    assert searched.states["SoftTargets"] == "CACHED"
    assert not any("teacher(s)" in line for line in searched.lines)


@pytest.mark.thorough
def test_an_identical_run_searches_nothing_again(searched: Any) -> None:
    assert searched.states_again == {
        name: "COMPLETE" if name == "Pusher" else "CACHED" for name in searched.states
    }


@pytest.mark.thorough
def test_the_report_shows_every_candidate_and_the_choice(searched: Any) -> None:
    found = searched.report["search"]
    results = searched.uris["Search.tuner_results"] / "tuner_results.json"
    assert found == json.loads(results.read_text())
    first, second, large, *objectives = found["students"]
    assert large["state"] == "refused" and "gate.max_size_bytes 100,000" in large["reason"]
    assert first["epochs"] > 0 and second["epochs"] > 0
    assert len(objectives) == 3 and all("filters" in each["name"] for each in objectives)
    (chosen,) = (each for each in found["students"] if each["state"] == "chosen")
    for each in found["students"]:
        assert each["name"] in searched.page
    assert searched.page.count(">chosen</span>") == 1
    assert f"chosen: {chosen['name']}" in searched.lines


@pytest.mark.thorough
@pytest.mark.parametrize("node", ["Distiller", "Control"])
def test_the_winner_is_what_is_trained(searched: Any, node: str) -> None:
    text = (searched.uris["Search.best_hyperparameters"] / "best_hyperparameters.txt").read_text()
    winner = json.loads(json.loads(text)["values"]["student"])
    described = searched.uris[f"{node}.model"] / "Format-Keras" / "model.json"
    assert json.loads(described.read_text())["parameters"] == winner["parameters"]
    assert winner["parameters"]["filters"] != [512, 512]


@pytest.mark.thorough
def test_nothing_is_left_of_a_search_that_is_published(searched: Any) -> None:
    node = searched.uris["Search.tuner_results"].parent.parent
    assert list((node / "resume").iterdir()) == []
