"""Bad inputs by the hundred: one line each, with its exit code, before anything heavy is loaded.

A line names the key, the rule, the value and the remedy; here stands what it has to hold.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main

USAGE, FAILED = 2, 1
IMAGES = "source: image_folder, features: {image: {kind: image, size: 8}}, path: pictures"
BASE = """\
name: own
data: {}
teacher: {model: resnet_small}
student: {model: separable_cnn}
gate: {min_accuracy: 0.9}
"""


@pytest.fixture(autouse=True)
def here(run_in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(code: int, *arguments: str) -> str:
    """The one line with which a command ends."""
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.lower().startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == lines[0]
    assert result.exit_code == code
    return lines[0]


def settings() -> Iterator[tuple[str, str]]:
    """`KEY=VALUE`, and what is said of it."""
    lines = Path(__file__).with_name("bad_settings.txt").read_text().splitlines()[1:]
    yield from ((key, words.strip()) for key, words in zip(lines[::2], lines[1::2], strict=True))


def test_there_are_enough_of_them() -> None:
    assert len(dict(settings())) > 300


@pytest.mark.parametrize(("override", "words"), settings())
def test_settings(override: str, words: str) -> None:
    line = refusal(USAGE, "validate", "digits", "--set", override)
    first, _, last = words.partition(" [...] ")
    assert line.startswith(f"error: --set {' '.join(override.split())}: {first}")
    assert line.endswith(last)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must be a YAML mapping such as `name: digits`, but it is empty"),
        (b"- name\n", "must be a YAML mapping such as `name: digits`, but it is a list"),
        (b"name: [a\n", "line 2, column 1: not valid YAML: expected ',' or ']'"),
        (b"name: a\n\tb: c\n", "line 2, column 1: not valid YAML: found character '\\t'"),
        (b"name: \x01", "not valid YAML: unacceptable character #x0001"),
        (b"\x00" * 100, "not valid YAML: unacceptable character #x0000"),
        (b"a: " + b"[" * 2000, "not valid YAML: maximum recursion depth exceeded"),
        (b"a: " * 3000, "line 1, column 5: not valid YAML: mapping values are not allowed here"),
        (b"\xff\xfe\x00n", "must be UTF-8 text, but byte 0 is not; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "must be UTF-8 text, but byte 0 is not; save it as UTF-8"),
        (b"a: &a [*a]\n", "not valid YAML: its aliases stand for more than 100,000 values"),
        (b"a: *b\n", "line 1, column 4: not valid YAML: found undefined alias 'b'"),
        (b"<<: 3\n", "line 1, column 5: not valid YAML: expected a mapping or list of mappings"),
        (b"<<: [1]\n", "line 1, column 6: not valid YAML: expected a mapping for merging"),
        (b"%YAML 9.9\n---\na: b\n", "line 1, column 1: not valid YAML: found incompatible YAML"),
        (b"!!python/object/apply:os.system ['ls']\n", "could not determine a constructor for"),
        (b"name: !!timestamp 9\n", "not valid YAML: a value is none of the kind that its !!tag"),
        (b"name: 9999-99-99\n", "not valid YAML: month must be in 1..12; fix or quote it"),
        (BASE + "name: b\n", "name: must be set once, but is set in line 1 and again in line 6"),
        (BASE + "---\nname: b\n", "line 6, column 1: not valid YAML: but found another document"),
        (BASE + "? [a]\n: b\n", "line 6, column 3: not valid YAML: found unhashable key"),
        (BASE + "1: 2\n", "1: a key must be a string, got 1; quote it"),
        (BASE + "null: 2\n", "None: a key must be a string, got None; quote it"),
        (BASE + '"\\e[2J": 1\n', "\\x1b[2J: no such key; keys here: name, "),
        (BASE + f"seed: {'9' * 5000}\n", "not valid YAML: Exceeds the limit (4300 digits)"),
        (BASE + f"x: {'{a: ' * 200}1{'}' * 200}\n", "x: no such key; keys here: name, "),
        (BASE + f"augment: {{mixup: {'9' * 400}}}\n", "augment.mixup: must be a number from 0 "),
        (BASE.replace("own", "a" * 1_000_000), "name: must have at most 100 characters, got 'aa"),
        (BASE.replace("{}", "{label: 2024-01-01}"), "data.label: must be a text, got 2024-01-01;"),
        (BASE.replace("{}", '{path: "a\\0b"}'), "data.path: must not contain control characters"),
        (BASE.replace("{}", '{path: "a\\nb"}'), "data.path: must not contain control characters"),
    ],
    ids=range(31),
)
def test_files(here: Path, content: bytes | str, words: str) -> None:
    (here / "own.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal(USAGE, "validate", "own.yaml")
    assert line.startswith("error: own.yaml: ")
    assert words in line


TWO = {"cat/1.png": b"not looked at", "dog/2.png": b"not looked at"}


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, USAGE, "data.path must be an existing directory, got 'pictures'; set it to a"),
        ({"cat": b"a file"}, FAILED, "'pictures' has no class sub-folder; add a sub-folder of"),
        ({"cat/1.png": b""}, FAILED, "has only the class 'cat'; add a sub-folder of images per"),
        ({**TWO, "eel/1.txt": b""}, FAILED, "the class folder 'pictures/eel' holds no .png, .jpg"),
        ({**TWO, "e\nl/1.png": b""}, FAILED, "the class folder 'e\\nl' has a line break in its"),
        ({**TWO, "cat/3.png": fifo}, FAILED, "cat/3.png must be a regular file or a link to one"),
        ({**TWO, "cat/3.png": link("/dev/zero")}, FAILED, "cat/3.png must be a regular file or"),
        ({**TWO, "cat/3.png": link("/not/here")}, FAILED, "cat/3.png must be a regular file or"),
        ({**TWO, "metadata.csv": fifo}, FAILED, "metadata.csv cannot be read (it is not a regular"),
    ],
    ids=range(9),
)
def test_folders_of_images(here: Path, content: Any, code: int, words: str) -> None:
    for name, each in (content or {}).items():
        path = here / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each) if isinstance(each, bytes) else each(path)
    line = refusal(code, "run", "digits", "--set", f"data={{{IMAGES}}}")
    assert words in line
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must have rows with a column file_name, but its columns are []; add the images'"),
        (b"file_name,x\n", "must have rows with a column file_name, but its columns are ['file_n"),
        (b"file;x\na;1\n", "must have rows with a column file_name, but its columns are ['file;x"),
        (b"\0\0\0", "must have rows with a column file_name, but its columns are ['\\x00\\x00"),
        (b"file_name,x,x\na,1,2\n", "columns must be different names of letters, digits and _, "),
        (b"file_name,label\na,1\n", "other than image, label, class_name, example_id, example_"),
        (b"file_name,a b\na,1\n", "columns must be different names of letters, digits and _, "),
        (b"file_name,\na,1\n", "columns must be different names of letters, digits and _, "),
        (b"file_name,x\ncat/1.png,1\n", "must have a row for every image, but there is no row for"),
        (b"file_name,x\na,1\na,2\n", "'a' must have one row, but has several; keep one"),
        (b"file_name,x\na\n", "the row of 'a' must have as many values as there are columns"),
        (b"file_name,x\na,1,2\n", "the row of 'a' must have as many values as there are columns"),
        (b'file_name,x\n"a,1\n', "must have as many values as there are columns; fix it"),
        (b"file_name,x\na,\xff\n", "must be a CSV file in UTF-8 ('utf-8' codec can't decode byte"),
        (b"file_name,x\na," + b"y" * 200_000, "metadata.csv must"),
        (b"file_name,x\r\ra,1\r", "must be a CSV file in UTF-8 (new-line character seen in"),
    ],
    ids=range(16),
)
def test_metadata_of_images(here: Path, content: bytes, words: str) -> None:
    for name, each in TWO.items():
        (here / "pictures" / name).parent.mkdir(parents=True)
        (here / "pictures" / name).write_bytes(each)
    (here / "pictures" / "metadata.csv").write_bytes(content)
    line = refusal(FAILED, "run", "digits", "--set", f"data={{{IMAGES}}}")
    assert "metadata.csv" in line and words in line


CSV = "source: csv, label: y, path: "


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (f"{IMAGES}, label: y", USAGE, "data.label must not be set when data.source is image_"),
        (f"{IMAGES}, splits: {{train: a, eval: b}}", USAGE, "data.splits must not be set when "),
        (f"{IMAGES}, rename: {{a: b}}", USAGE, "data.rename must not be set when data.source is"),
        (f"{IMAGES}, query: q", USAGE, "data.query must not be set when data.source is image_fo"),
        (f"{IMAGES}, time: t", USAGE, "data.time needs data.eval_from; set both or neither"),
        (
            f"{IMAGES}, eval_from: 2024",
            USAGE,
            "data.eval_from needs data.time; set both or neither",
        ),
        (f"{IMAGES}, group: g, time: t, eval_from: 2024", USAGE, "are two ways to split the exam"),
        (f"{IMAGES}, preprocessing_fn: 'a.py:f'", USAGE, "must not be set together with features"),
        (IMAGES.replace("pictures", "'a*b'"), USAGE, "data.path must not contain any of *?[]{}"),
        (IMAGES.replace("image: {kind: image, size: 8}", ""), USAGE, "data.features.image must be"),
        (f"{CSV}none", FAILED, "data.path: no file matches none/*.csv; set it to a file, a "),
        (f"{CSV}'none/*.x'", FAILED, "data.path: no file matches none/*.x; set it to a file, a "),
        (f"{CSV}'{{SPAN}}/a.csv', unlabeled: b", USAGE, "must have the same of {SPAN}, {VERSION}"),
        (f"{CSV}a, splits: {{train: b}}", USAGE, "data.splits must have train and eval, got train"),
        (f"{CSV}a, splits: {{train: b, eval: c}}, group: g", USAGE, "are two ways to split the"),
        ("source: csv, path: broken.csv, label: z", FAILED, "data.label: there is no feature 'z'"),
        ("source: csv, path: broken.csv, id: z", FAILED, "data.id: there is no feature 'z'; there"),
        ("source: csv, path: twice.csv, label: y", FAILED, "twice.csv"),
        ("source: csv, path: empty.csv, label: y", FAILED, "empty.csv"),
        ("source: csv, path: bytes.csv, label: y", FAILED, "bytes.csv"),
        ("source: csv, path: fifo.csv, label: y", FAILED, "fifo.csv cannot be read, it is not a"),
        ("source: parquet, path: none", FAILED, "data.path: no file matches none/*.parquet; set "),
        ("source: tfrecord, path: none", FAILED, "data.path: no file matches none/*tfrecord*; set"),
        ("source: examples, path: none", FAILED, "data.path: no file matches none/Split-*/*; set "),
        ("source: examples, path: 'a/*'", USAGE, "must be the directory of one Examples artifact"),
        ("source: bigquery", USAGE, "data.query must be set when data.source is bigquery; write"),
        ("source: parquet, path: 'embedded:none'", USAGE, "data.path must be one of embedded:diam"),
    ],
    ids=range(27),
)
def test_data(here: Path, data: str, code: int, words: str) -> None:
    (here / "pictures").mkdir()
    (here / "broken.csv").write_text("x,y\n1,2\n")
    (here / "twice.csv").write_text("y,y\n1,2\n")
    (here / "empty.csv").touch()
    (here / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(here / "fifo.csv")
    table = "teacher={model: mlp}", "student={model: mlp}"
    models = () if "image_folder" in data else table
    changes = [part for each in (f"data={{{data}}}", *models) for part in ("--set", each)]
    assert words in refusal(code, "run", "digits", *changes)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("run digit", USAGE, "'digit' is neither a preset (diamonds, digits, "),
        ("run none.yaml", USAGE, "'none.yaml' is neither a preset (diamonds, digits, "),
        ("run directory", USAGE, "directory: must be a YAML file, but it is a directory; name a"),
        ("run loop", USAGE, "'loop' is neither a preset (diamonds, digits, "),
        ("run fifo", USAGE, "'fifo' is neither a preset (diamonds, digits, "),
        ("run /dev/zero", USAGE, "'/dev/zero' is neither a preset (diamonds, digits, "),
        (f"run {'a' * 5000}", USAGE, "aaa… is neither a preset (diamonds, digits, "),
        ("run /proc/self/mem", USAGE, "/proc/self/mem: cannot be read (Input/output error); name"),
        ("run digits --output file", USAGE, "'--output': Directory 'file' is a file"),
        ("run digits --output file/out", USAGE, "--output must be a directory that can be written"),
        ("run digits --output /proc/out", USAGE, "--output must be a directory that can be "),
        ("run digits --sett a=b", USAGE, "No such option '--sett'. Did you mean"),
        ("run digits more", USAGE, "Got unexpected extra argument (more)"),
        ("runn digits", USAGE, "No such command 'runn'"),
        ("validate", USAGE, "Missing argument 'FILE'"),
        ("init none", USAGE, "PATH must be a file or directory, but there is no 'none'; correct"),
        ("init file", USAGE, "PATH must be a CSV, Parquet or TFRecord file, or a directory of im"),
        ("init file --task clustering", USAGE, "'clustering' is not one of 'classification'"),
        ("inspect directory", USAGE, "PATH must hold CSV, Parquet or TFRecord files, or sub-fo"),
        ("inspect none.yaml", USAGE, "'none.yaml' is neither a preset"),
        ("report none", USAGE, "no report can be read at none/report/report.json (No such file"),
        ("report directory", USAGE, "no report can be read at directory/report/report.json"),
        ("report file", USAGE, "no report can be read at file/report/report.json (Not a dir"),
        ("compare directory", USAGE, "compare needs two or more runs, got only directory"),
        ("compare directory none", USAGE, "no report can be read at directory/report/report.json"),
        ("verify none", USAGE, "DIR must be a run's output directory or a push destination, but n"),
        ("verify file", USAGE, "DIR must be a run's output directory or a push destination, but f"),
        ("push none --rollback", USAGE, "DIR must be a run's output directory or a push destinat"),
        ("push directory", USAGE, "push needs --rollback: a new student is pushed by `tfx-distill"),
        ("predict --model none file", USAGE, "--model must be a directory or a URL, but none is "),
        ("predict --model directory file", USAGE, "--model must have a pushed version, but direct"),
        ("predict --model directory none", USAGE, "--model must have a pushed version, but direct"),
        ("predict --model directory file --top-k 0", USAGE, "0 is not in the range x>=1"),
        ("predict --model directory file --format onnx", USAGE, "'onnx' is not one of"),
        ("compile --engine airflow", USAGE, "'airflow' is not one of 'kubeflow', 'vertex'"),
        ("compile digits --engine vertex", USAGE, "Missing option '-o' / '--output'"),
        ("compile digits --engine kubeflow -o file/x", USAGE, "runtime.image must be set, since "),
    ],
)
def test_commands(here: Path, arguments: str, code: int, words: str) -> None:
    (here / "file").write_text("no report")
    (here / "directory").mkdir()
    (here / "loop").symlink_to("loop")
    os.mkfifo(here / "fifo")
    assert words in refusal(code, *arguments.split())


# Functions of a user, each with what is wrong with it.
BUILDERS = """
import sys, keras

def raises(inputs, output): raise RuntimeError("the stem is\\nmissing")
def lacks(inputs, output): return {}["stem"]
def leaves(inputs, output): sys.exit(0)
def nothing(inputs, output): pass
def text(inputs, output): return "a model"
def no_arguments(): pass
def asks(inputs, output, width): pass
def divides(inputs, output): return keras.layers.Dense(1 / 0)
number = 3
"""


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        ("raises", FAILED, "RuntimeError: the stem is missing ({file}, line 4)"),
        ("lacks", FAILED, "KeyError: 'stem' ({file}, line 5)"),
        ("leaves", FAILED, "SystemExit: 0 ({file}, line 6)"),
        ("nothing", FAILED, "must be a keras.Model, but its builder returned"),
        ("text", FAILED, "must be a keras.Model, but its builder returned"),
        ("no_arguments", FAILED, "TypeError: no_arguments() takes 0 positional arguments but 2"),
        ("asks", FAILED, "TypeError: asks() missing 1 required positional argument: 'width'"),
        ("divides", FAILED, "ZeroDivisionError: division by zero ({file}, line 11)"),
        ("number", FAILED, "'int' object is not callable"),
        ("none", USAGE, "has no attribute 'none'"),
    ],
)
@pytest.mark.parametrize("role", ["student", "teacher", "more_teachers.0", "distill.assistants.0"])
def test_builders(
    here: Path, monkeypatch: pytest.MonkeyPatch, role: str, function: str, code: int, words: str
) -> None:
    file = here / "bad_builders.py"
    file.write_text(BUILDERS)
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "bad_builders", raising=False)
    section, listed, _ = role.partition(".0")
    model = f"{{model: 'bad_builders:{function}'}}"
    change = f"{section}={f'[{model}]' if listed else model}"
    line = refusal(code, "run", "digits", "--set", change)
    assert line.startswith(f"error: {role}: model 'bad_builders:{function}' ")
    assert words.format(file=file) in line
    assert not (here / "runs" / "digits" / "metadata.sqlite").exists()
