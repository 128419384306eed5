"""`tune:`: the sentence that each mistake gets, the node, and a search on the digits."""

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
from modules.settings import TuneSettings
from pipeline.config import load_config

KEYS = "trials, epochs, temperature, alpha, learning_rate, method_weights, parameters"


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        (
            "{trials: 3}",
            "tune: must search something, or every trial would be the same; set one of "
            "temperature, alpha, learning_rate, method_weights, parameters",
        ),
        (
            "{alpha: [0.9, 0.1]}",
            "tune.alpha: must be [low, high] with low below high, got [0.9, 0.1]",
        ),
        ("{alpha: [0, 2]}", "tune.alpha.1: must be a number from 0 to 1, got 2"),
        (
            "{temperature: [0, 2]}",
            "tune.temperature.0: must be a number above 0 and at most 1,000, got 0",
        ),
        (
            "{alpha: [0, 1], temprature: [1, 2]}",
            "tune.temprature: no such key; did you mean 'temperature'?",
        ),
        (
            "{parameters: {width: [8, 16]}}",
            "tune.parameters: separable_cnn takes filters, blocks, dropout",
        ),
        (
            "{method_weights: {hint: [1, 2]}}",
            "tune.method_weights: must name methods of distill.methods (soft_target), got 'hint'",
        ),
        (
            "{alpha: [0, 1], trials: 0}",
            "tune.trials: must be a whole number from 1 to 10,000, got 0",
        ),
        ("{alpha: 0.5}", "tune.alpha: "),
    ],
)
def test_mistakes(tune: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("digits", [f"tune={tune}"])
    (line,) = str(caught.value).splitlines()
    assert message in line


def test_unknown_key_names_the_keys_there_are() -> None:
    with pytest.raises(ConfigError, match=f"keys here: {KEYS}$"):
        load_config("digits", ["tune={alpha: [0, 1], trial: 3}"])


def test_tune_is_read_and_absent_by_default() -> None:
    assert load_config("digits").tune is None
    assert load_config("digits", ["tune=null"]).tune is None
    overrides = ["tune.temperature=[2, 8]", "tune.parameters.filters=[[8, 16], [12, 24]]"]
    assert load_config("digits", overrides).tune == TuneSettings(
        temperature=(2, 8), parameters={"filters": ([8, 16], [12, 24])}
    )


def test_checking_the_search_loads_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.config as config\n"
        "config.load_config('digits', ['tune.method_weights.soft_target=[1, 2]'])\n"
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


def test_the_tuner_takes_what_the_distiller_takes_and_feeds_it_and_the_control() -> None:
    plain, tuned = graph(), graph("tune.alpha=[0.1, 0.9]")
    assert "Tuner" not in plain
    assert tuned.keys() - plain.keys() == {"Tuner"}
    assert inputs(tuned["Tuner"]) == inputs(plain["Distiller"])
    winner = {"hyperparameters": ("Tuner", "best_hyperparameters")}
    for name, node in plain.items():
        added = winner if name in ("Distiller", "Control", "Evaluator") else {}
        assert inputs(tuned[name]) == inputs(node) | added


def test_the_tuner_is_tfxs_with_our_module_and_the_students_configuration() -> None:
    from tfx.components.tuner.component import Tuner

    nodes = graph("tune={alpha: [0.1, 0.9], trials: 4}")
    tuner = nodes["Tuner"]
    assert isinstance(tuner, Tuner)
    assert tuner.exec_properties["module_path"] == "modules.tuner"
    config = json.loads(tuner.exec_properties["custom_config"])
    assert TuneSettings(**config["tune"]) == TuneSettings(alpha=(0.1, 0.9), trials=4)
    student = json.loads(nodes["Distiller"].exec_properties["custom_config"])
    assert config | {"tune": None} == student


def test_with_online_soft_targets_the_teachers_come_alone() -> None:
    nodes = graph(
        "tune.alpha=[0.1, 0.9]",
        "distill.soft_targets=online",
        "distill.control=false",
        "gate={min_accuracy: 0.5}",
    )
    assert "soft_targets" not in nodes["Tuner"].inputs
    assert inputs(nodes["Tuner"])["teachers"] == ("TeacherTrainer", "model")


# -- a run --

TUNE = (
    "tune={trials: 2, epochs: 2, alpha: [0.1, 0.9], learning_rate: [0.002, 0.05], "
    "parameters: {filters: [[4, 8], [6, 10], [8, 12]]}}"
)


class Lines(logging.Handler):
    """Keeps our own messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def tuned(miniature_run: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The miniature run, tuned, and once more, in a directory of its own.

    With the first one's metadata: what comes before the search is answered from the cache.
    """
    output = tmp_path_factory.mktemp("tuned") / "run"
    output.mkdir()
    shutil.copyfile(miniature_run.output / "metadata.sqlite", output / "metadata.sqlite")
    run = dataclasses.replace(miniature_run, output=output, uris={})
    logger, handler = logging.getLogger("tfx_distill"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        run.run(TUNE)
        first = SimpleNamespace(states=run.states(), artifacts=run.artifacts())
        lines = list(handler.lines)
        run.run(TUNE)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return SimpleNamespace(
        states=first.states,
        states_again=run.states(),
        uris={name: Path(artifact.uri) for name, artifact in first.artifacts.items()},
        lines=lines,
    )


def winner_of(tuned: Any) -> dict[str, Any]:
    text = (tuned.uris["Tuner.best_hyperparameters"] / "best_hyperparameters.txt").read_text()
    return json.loads(text)["values"]


@pytest.mark.thorough
def test_the_teacher_is_asked_once_for_all_trials(tuned: Any) -> None:
    assert tuned.states["Tuner"] == "COMPLETE"
    # Its answers are those of the run before, in another directory.
    assert tuned.states["SoftTargets"] == "CACHED"
    assert not any("teacher(s)" in line for line in tuned.lines)
    assert any(line.endswith("taught by cached soft targets") for line in tuned.lines)


@pytest.mark.thorough
def test_an_identical_run_searches_nothing_again(tuned: Any) -> None:
    assert tuned.states_again == {
        name: "COMPLETE" if name == "Pusher" else "CACHED" for name in tuned.states
    }


@pytest.mark.thorough
def test_the_best_trial_wins(tuned: Any) -> None:
    results = json.loads((tuned.uris["Tuner.tuner_results"] / "tuner_results.json").read_text())
    assert len(results) == 2
    best = min(results, key=lambda result: result["score"])
    assert {name: best[name] for name in best.keys() - {"trial_id", "score"}} == winner_of(tuned)


@pytest.mark.thorough
@pytest.mark.parametrize("node", ["Distiller", "Control"])
def test_the_winner_is_what_is_trained(tuned: Any, node: str) -> None:
    import tensorflow as tf
    from small_models import load_saved

    winner = winner_of(tuned)
    filters = json.loads(winner["parameters.filters"])
    directory = tuned.uris[f"{node}.model"] / "Format-Keras"
    assert json.loads((directory / "model.json").read_text())["parameters"]["filters"] == filters
    model = load_saved(directory)
    widths = [model.get_layer(f"block{index}").output.shape[-1] for index in (1, 2)]
    assert widths == filters
    (first_rate,) = [
        float(tf.make_ndarray(value.tensor))
        for file in tuned.uris[f"{node}.model_run"].rglob("train/events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag == "epoch_learning_rate" and event.step == 0
    ]
    assert first_rate == pytest.approx(winner["learning_rate"], rel=1e-6)


@pytest.mark.thorough
def test_the_log_tells_trials_and_winner(tuned: Any) -> None:
    from modules.distill.hyperparameters import describe

    trials = [line for line in tuned.lines if line.startswith("trial ")]
    assert [line.split()[1] for line in trials] == ["1/2", "2/2"]
    assert all(" val_hard_loss " in line for line in trials)
    # The control's and the student's.
    assert tuned.lines.count(f"tuned: {describe(winner_of(tuned))}") == 2
