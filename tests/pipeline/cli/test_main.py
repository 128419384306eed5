"""The command line: exit codes, messages, and that it is quick to answer."""

import errno
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import portalocker
import pytest
import yaml
from click.testing import CliRunner, Result
from small_report import changed, content

from modules.judge.schema import Report
from modules.report.files import write_report
from pipeline.cli.main import main
from pipeline.config import PRESETS_DIR, load_config

COMMAND = Path(sys.executable).with_name("tfx-distill")
IMAGES = "source: image_folder, features: {image: {kind: image, size: 8}}"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def names_of(presets: list[Path]) -> list[str]:
    return [path.stem for path in presets]


@pytest.fixture
def one_class(tmp_path: Path) -> tuple[str, str]:
    """A setting whose data cannot be used, and what is said of them."""
    folder = tmp_path / "pictures" / "cat"
    folder.mkdir(parents=True)
    return f"data={{{IMAGES}, path: {folder.parent}}}", (
        f"data.path must hold at least two class sub-folders, but {str(folder.parent)!r} has only "
        "the class 'cat'; add a sub-folder of images per class"
    )


def test_the_installed_command_shows_its_commands() -> None:
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for name in ("run", "presets", "validate", "report", "predict", "compare", "verify", "push"):
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", ["report", "predict", "compare", "verify", "push"])
def test_help_ends_with_examples_that_can_be_parsed(name: str) -> None:
    _, _, examples = invoke(name, "--help").stdout.partition("\n  Examples:\n")
    command = main.commands[name]
    lines = examples.splitlines()
    assert lines
    for line in lines:
        program, called, *arguments = shlex.split(line.partition(" > ")[0])
        assert (program, called) == ("tfx-distill", name)
        command.make_context(name, arguments)


def test_completion_as_the_help_shows_it() -> None:
    (line,) = (line for line in invoke("--help").stdout.splitlines() if "COMPLETE" in line)
    script = f"{line.strip()}; complete -p tfx-distill"
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert "_tfx_distill_completion" in done.stdout


def test_presets_are_listed_with_what_they_are() -> None:
    result = invoke("presets")
    assert result.exit_code == 0
    presets = sorted(PRESETS_DIR.glob("*.yaml"))
    lines = result.stdout.splitlines()
    assert "digits: few labels" in result.stdout
    titles = [line.split(":")[0] for line in lines if line.split(":")[0] in names_of(presets)]
    assert titles == names_of(presets)
    for path in presets:
        text = path.read_text()
        assert f"tfx-distill run {path.stem}" in result.stdout
        header = [line for line in text.splitlines() if line.startswith("#")]
        assert all(line.removeprefix("#").removeprefix(" ") in lines for line in header)
    # What follows the header is configuration.
    assert "split_seed:" not in result.stdout
    assert not any(line.startswith(("name:", "data:", "#")) for line in lines)


def test_validate_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text((PRESETS_DIR / "digits.yaml").read_text())
    result = invoke("validate", file, "--set", "name=mine")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{file}: valid (pipeline 'mine')",
        "objective: labels weigh 0.1, the teacher 0.9, softened by T = 4",
    ]


@pytest.mark.parametrize(
    ("distill", "words"),
    [
        ("alpha: 0.125, temperature: 2.5", "0.125, the teacher 0.875, softened by T = 2.5"),
        ("alpha: 1", "1, the teacher 0: nothing is learned from it"),
        ("methods: [{name: logit_mse}]", "0.1, the teacher 0.9: 1 x logit_mse"),
        (
            "soft_targets: online, methods: [{name: soft_target, weight: 2, final_temperature: 1}, "
            "{name: hint, student_layer: block2, teacher_layer: stage2_block2}]",
            "0.1, the teacher 0.9: 2 x soft_target (softened by T = 4 to 1) + 100 x hint",
        ),
        (
            "assistants: [{model: cnn_tutorial}, {model: separable_cnn}]",
            "0.1, the teacher 0.9, softened by T = 4; the student learns from it through "
            "cnn_tutorial and then separable_cnn",
        ),
    ],
)
def test_validate_says_the_objective_in_words(distill: str, words: str) -> None:
    result = invoke("validate", "digits", "--set", f"distill={{{distill}}}")
    assert f"objective: labels weigh {words}\n" in result.stdout


def test_every_line_of_an_error_is_on_stderr() -> None:
    arguments = ["--set", "distill.alpha=2", "--set", "gate={}"]
    result = invoke("validate", "digits", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    alpha, gate = sorted(result.stderr.splitlines())
    assert alpha == (
        "error: --set distill.alpha=2: distill.alpha: must be a number from 0 to 1, got 2"
    )
    assert gate.startswith("error: --set gate={}: gate: must set at least one limit")


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        (f"data={{{IMAGES}, path: /not/here}}", "data.path must be an existing directory"),
        ("student={model: 'not_here.models:build'}", "there is no module 'not_here.models'"),
        ("push.destination=s4://bucket", "must be a local path or a URL that fsspec knows"),
    ],
)
def test_validate_notes_what_this_machine_does_not_have(change: str, absent: str) -> None:
    """It may be a configuration for another machine."""
    result = invoke("validate", "digits", "--set", change)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("note: a run on this machine would end at once: ") and absent in line


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("def built(inputs, output): pass", "got 'build'; did you mean 'built'?; correct the name"),
        ("def build(inputs output): pass", "users_models.py, line 1: invalid syntax"),
    ],
)
@pytest.mark.parametrize("key", ["student.model", "teacher.model", "teacher.function"])
def test_validate_notes_functions_that_do_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, note: str, key: str
) -> None:
    (tmp_path / "users_models.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    role, _, kind = key.partition(".")
    result = invoke("validate", "digits", "--set", f"{role}={{{kind}: 'users_models:build'}}")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"note: a run on this machine would end at once: {key}") and note in line


@pytest.mark.parametrize(
    "content",
    [
        "def build(inputs, output): pass",
        "from other import build",
        "if True:\n    build = lambda inputs, output: None",
        "from other import *",
        "def __getattr__(name): ...",
    ],
)
def test_validate_runs_no_code_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "users_models.py").write_text(f"{content}\nraise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    result = invoke("validate", "digits", "--set", "student={model: 'users_models:build'}")
    assert (result.exit_code, result.stderr) == (0, "")


def test_validate_outlives_a_package_that_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python imports the package to find a module in it."""
    (tmp_path / "exiting_package").mkdir()
    init = tmp_path / "exiting_package" / "__init__.py"
    init.write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    result = invoke("validate", "digits", "--set", "student={model: 'exiting_package.a:build'}")
    note = f"note: a run on this machine would end at once: SystemExit: 0 ({init}, line 1)\n"
    assert (result.exit_code, result.stderr) == (0, note)


def test_validate_notes_data_that_cannot_be_used(one_class: tuple[str, str]) -> None:
    setting, message = one_class
    result = invoke("validate", "digits", "--set", setting)
    note = f"note: a run on this machine would end at once: {message}\n"
    assert (result.exit_code, result.stderr) == (0, note)


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = "{source: csv, path: ~/a.csv, label: y, preprocessing_fn: '~/mine.py:fn'}"
    config = load_config("digits", [f"data={data}", "push.destination=~/models"])
    found = (config.data.path, config.data.preprocessing_fn, config.push.destination)
    assert found == (f"{tmp_path}/a.csv", f"{tmp_path}/mine.py:fn", f"{tmp_path}/models")
    (tmp_path / "runs").write_text("a file")
    result = invoke("run", "digits", "--output", "~/runs/one")
    assert f"got {tmp_path / 'runs' / 'one'}" in result.stderr


def test_a_path_is_relative_to_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/configuration.md says, and not to where the file lies."""
    (tmp_path / "settings").mkdir()
    file = tmp_path / "settings" / "own.yaml"
    settings = yaml.safe_load((PRESETS_DIR / "segments.yaml").read_text())
    settings["data"] = {"source": "csv", "path": "data.csv", "label": "y"}
    file.write_text(yaml.safe_dump(settings))
    (tmp_path / "data.csv").write_text("x,y\n" + "1.5,a\n2.5,b\n" * 40)
    monkeypatch.chdir(tmp_path / "settings")
    assert "data.path" in invoke("validate", file).stderr
    monkeypatch.chdir(tmp_path)
    assert "data.path" not in invoke("validate", file).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "digits", "--output", ""),
        ("inspect", "digits", "--output", ""),
        ("inspect", ""),
        ("init", ""),
        ("init", "data.csv", "--config", ""),
        ("validate", ""),
        ("report", ""),
        ("verify", ""),
        ("push", "--rollback", ""),
        ("compare", "runs/a", ""),
        ("predict", "--model", "", "a.png"),
        ("compile", "--engine", "vertex", "-o", ""),
    ],
)
def test_an_empty_path_is_none(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.endswith(": must be a path, got an empty text; name one\n")


@pytest.mark.parametrize("key", ["data.path", "push.destination", "data.schema_file"])
def test_an_empty_path_in_a_configuration(key: str) -> None:
    result = invoke("validate", "segments", "--set", f"{key}=''")
    assert result.exit_code == 2
    assert f"{key}: must be a path or a URL, got an empty text; name one, or use null" in (
        result.stderr
    )


def test_usage_errors_have_the_exit_code_of_click() -> None:
    assert invoke("validate").exit_code == 2
    assert invoke("run", "digits", "--sett", "a=b").exit_code == 2
    assert invoke("nonsense").exit_code == 2


def test_run_with_an_unknown_preset(tmp_path: Path) -> None:
    result = invoke("run", "digit", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "did you mean 'digits'?" in result.stderr
    assert not (tmp_path / "out").exists()


def test_run_with_a_bad_configuration_leaves_nothing_behind(tmp_path: Path) -> None:
    result = invoke("run", "digits", "--set", "seed=-1", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --set seed=-1: seed: must be a whole number from 0 to 4,294,967,295, got -1\n"
    )
    assert not (tmp_path / "out").exists()


def test_run_without_its_data(tmp_path: Path) -> None:
    data = f"data={{{IMAGES}, path: {tmp_path / 'none'}}}"
    result = invoke("run", "digits", "--set", data, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: data.path must be an existing directory, got ")
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("mine")
    result = invoke("run", "digits", "--output", file)
    assert result.exit_code == 2
    assert "Directory" in result.stderr and "is a file" in result.stderr
    assert file.read_text() == "mine"


def test_output_below_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    result = invoke("run", "digits", "--output", file / "out")
    assert result.exit_code == 2
    wanted = f"error: --output must be a directory that can be written to, got {file / 'out'} ("
    assert result.stderr.startswith(wanted)


def test_second_run_in_the_same_directory(tmp_path: Path) -> None:
    with portalocker.Lock(tmp_path / ".lock", timeout=0):
        result = invoke("run", "digits", "--output", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"error: --output: {tmp_path} must not be in use, but another run is using it; wait for "
        "it or choose another directory"
    )
    assert not (tmp_path / "metadata.sqlite").exists()


def test_data_error_is_one_line_and_exit_code_1(tmp_path: Path, one_class: tuple[str, str]) -> None:
    setting, message = one_class
    result = invoke("run", "digits", "--set", setting, "--output", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (1, f"error: {message}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("run_in_process")
def test_an_error_of_the_run_is_one_line_and_its_traceback_in_the_log(tmp_path: Path) -> None:
    student = "student={model: resnet50}"
    result = invoke("run", "digits", "--set", student, "--output", tmp_path / "out")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: student: ResNet50 needs images of at least ")
    assert "Traceback" not in result.stderr
    assert "Traceback" in (tmp_path / "out" / "run.log").read_text()


@pytest.mark.usefixtures("run_in_process")
def test_unusable_model_is_a_usage_error_before_anything_runs(tmp_path: Path) -> None:
    arguments = ["--set", "student.model=there.is.none:such", "--set", "student.parameters={}"]
    result = invoke("run", "digits", *arguments, "--output", tmp_path)
    assert result.exit_code == 2
    assert "error: student: model 'there.is.none:such' must be a name of the" in result.stderr
    assert not (tmp_path / "metadata.sqlite").exists()


@pytest.mark.usefixtures("run_in_process")
@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (
            ZeroDivisionError("by zero\nmore"),
            1,
            "ZeroDivisionError: by zero more ({here}); {trace}",
        ),
        (
            RuntimeError(),
            1,
            "RuntimeError() ({here}); {trace}",
        ),
        (
            SystemExit(0),
            1,
            "SystemExit: 0 ({here}); {trace}",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            1,
            "no space left: 7 GB are free at {output}; 7 GB are free at /fast; free some, and the "
            "same command goes on from what is done",
        ),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; the same command goes on from what is done",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_other_failure_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*arguments: object) -> None:
        raise raised

    monkeypatch.setattr("pipeline.local_runner.run", fail)
    monkeypatch.setattr("pipeline.terminal.nodes.free_space", "7 GB are free at {}".format)
    monkeypatch.setattr("tempfile.tempdir", "/fast")
    result = invoke("run", "digits", "--output", tmp_path)
    log = tmp_path / "run.log"
    assert result.exit_code == code
    trace = f"the traceback is in {log}, or run again with --debug"
    here = f"{__file__}, line {fail.__code__.co_firstlineno + 1}"
    assert result.stderr.splitlines()[1:] == [
        "error: " + line.format(here=here, trace=trace, output=tmp_path)
    ]
    assert f"{type(raised).__name__}" in log.read_text()


def test_no_room_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prefix: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"/full/{prefix}1")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    result = invoke("run", "digits", "--output", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[1:] == [
        "error: TMPDIR must name a directory that can be written to, but none can be made there "
        "(No space left on device: /full/tfx-distill-run-1); set another one, or make room"
    ]


def test_report_of_a_directory_without_one(tmp_path: Path) -> None:
    result = invoke("report", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path / "report" / "report.json") in line


def test_report_that_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "report" / "report.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"schema_version": 1}))
    result = invoke("report", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(file) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def reported(tmp_path: Path) -> Path:
    """The output directory of a run that has no report page."""
    write_report(Report.model_validate(content()), {}, tmp_path / "report")
    (tmp_path / "report" / "index.html").unlink()
    return tmp_path


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets the address which a browser is to open."""
    browser, file = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > "{file}"\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER", str(browser))
    # The standard library looks for browsers once, and `BROWSER` with them.
    monkeypatch.setattr("webbrowser._tryorder", None)
    return file


def test_report_prints_the_table_and_opens_nothing(reported: Path, opened: Path) -> None:
    result = invoke("report", reported)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (reported / "report" / "report.md").read_text()
    assert not opened.exists()


def test_report_names_its_page(reported: Path, opened: Path) -> None:
    page = reported / "report" / "index.html"
    page.touch()
    result = invoke("report", reported)
    assert result.stdout.splitlines()[-1] == f"Report page  {page}"
    assert not opened.exists()


def test_report_opens_its_page(
    reported: Path, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reported / "report" / "index.html").touch()
    monkeypatch.chdir(reported.parent)
    result = invoke("report", reported.name, "--open")
    assert (result.exit_code, result.stderr) == (0, "")
    assert opened.read_text() == (reported / "report" / "index.html").as_uri()


def test_report_has_no_page_to_open(reported: Path, opened: Path) -> None:
    result = invoke("report", reported, "--open")
    assert result.exit_code == 1
    assert result.stdout.startswith("| model ")
    page = reported / "report" / "index.html"
    line = f"error: --open: {page} does not exist; run the pipeline again to write it\n"
    assert result.stderr == line
    assert not opened.exists()


@pytest.mark.usefixtures("run_in_process")
@pytest.mark.parametrize("verdict", ["passed", "failed", "inconclusive"])
def test_run_ends_with_where_everything_lies(
    reported: Path, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    blessed = verdict == "passed"
    changes = {"gate__verdict": verdict, "gate__blessed": blessed}
    write_report(Report.model_validate(changed(**changes)), {}, reported / "report")
    tflite = reported / "pushed" / "tflite" / "17"
    tflite.mkdir(parents=True)
    for name in ("model_float32.tflite", "manifest.json", "model.tflite"):
        (tflite / name).touch()
    outcome = SimpleNamespace(
        report_dir=reported / "report",
        blessed=blessed,
        saved_model=str(reported / "pushed" / "saved_model" / "17") if blessed else None,
        tflite=str(tflite) if blessed else None,
    )
    monkeypatch.setattr("pipeline.local_runner.run", lambda *arguments: outcome)
    result = invoke("run", "digits", "--output", reported)
    assert result.exit_code == (0 if blessed else 3)
    table, _, places = result.stdout.strip().rpartition("\n\n")
    assert "| student " in table
    assert places.splitlines() == (
        [
            f"SavedModel  {reported / 'pushed' / 'saved_model' / '17'}",
            f"TFLite      {tflite / 'model.tflite'}",
            f"TFLite      {tflite / 'model_float32.tflite'}",
        ]
        if blessed
        else []
    ) + [
        f"Report      {reported / 'report' / 'report.json'}",
        f"Report page {reported / 'report' / 'index.html'}",
        f"Model card  {reported / 'report' / 'model_card.md'}",
    ]


def test_push_says_that_run_pushes(tmp_path: Path) -> None:
    result = invoke("push", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "Error: push needs --rollback: a new student is pushed by `tfx-distill run`, once it is "
        "judged"
    )
