"""Pushed models asked about files of every kind, through the command line that users have.

The models are exported and pushed by the functions that the pipeline calls. What a TFLite file is
given is made by NumPy; the SavedModel beside it has Transform's own graph.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pushed_models import export, make_graph, push, write_json_lines
from pushes import push_exported
from scipy.special import expit, softmax
from transform_graphs import FEATURES, make_rows
from transforming import serialize

from modules.errors import ConfigError, UserError
from modules.export import runtimes
from modules.predict.prediction import BATCH_SIZE, predict
from modules.predict.pushed_models import find_models
from modules.predict.rows import RowReader
from pipeline.cli.main import main

pytestmark = pytest.mark.thorough

TABLE = ("age", "petal length (cm)", "income", "score", "city", "zip")
# Others than the graph was made of: values that no vocabulary has, numbers beyond all boundaries.
ROWS = [*make_rows(BATCH_SIZE + 4, seed=7)]
ROWS[0] |= {"city": ["Genève".encode()], "zip": [7], "tags": [b"pink", b"red", b"pink", b"blue"]}
ROWS[1] |= {"zip": [99999], "score": [50.0], "review": [b"Unheard-of WORDS: a!!b"]}
ROWS[2] |= {"age": [], "income": [], "city": [], "tags": [], "review": [], "score": [-50.0]}
ROWS[3] |= {"review": ["ÄÖÜ\u00a0good\tfilm".encode()], "code": [b"a"]}


@pytest.fixture(scope="module")
def pushed(mixed_graph, image_graph, tmp_path_factory):
    """Destinations: all features, a table, an image, a text; a task each."""
    made = tmp_path_factory.mktemp("graphs")
    graphs = {
        "all": mixed_graph,
        "table": make_graph(made / "table", "regression", TABLE),
        "image": image_graph,
        "text": make_graph(made / "text", "multilabel", ["review"]),
    }
    return SimpleNamespace(
        **{name: push(graph, tmp_path_factory.mktemp(name)) for name, graph in graphs.items()}
    )


@pytest.fixture(scope="module")
def image_graph(tmp_path_factory):
    return make_graph(tmp_path_factory.mktemp("image") / "graph", "binary", ["photo"])


def ask(*arguments):
    return CliRunner().invoke(main, ["predict", "--model", *map(str, arguments)])


def answers(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def errors(result, code):
    """The lines of an error, of which nothing was answered before."""
    assert (result.exit_code, result.stdout) == (code, ""), result.stdout
    lines = result.stderr.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


def served(destination, rows):
    """What the pushed SavedModel itself answers to the raw examples."""
    (version,) = (destination / "saved_model").iterdir()
    return runtimes.load("saved_model", str(version)).answer([serialize(row) for row in rows])


def assert_answered(found, probabilities, sources):
    """Both formats have all classes of every example, the most probable one first."""
    assert [(each["format"], each["variant"]) for each in found] == [
        ("saved_model", None),
        ("tflite", "float32"),
    ] * len(sources)
    for place in (0, 1):
        assert [each["example"] for each in found[place::2]] == sources
        for each, row in zip(found[place::2], probabilities, strict=True):
            given = [guess["probability"] for guess in each["top"]]
            assert given == sorted(given, reverse=True)
            np.testing.assert_allclose(
                given, row[[guess["index"] for guess in each["top"]]], atol=1e-5
            )


def test_json_lines_of_every_kind(pushed, tmp_path):
    file = write_json_lines(tmp_path / "rows.jsonl", ROWS, [*FEATURES])
    found = answers(ask(pushed.all, "--json", "--top-k", "9", file))
    probabilities = softmax(served(pushed.all, ROWS), axis=1)
    assert probabilities.std(axis=0).min() > 0.01
    assert_answered(found, probabilities, [f"{file}:{at}" for at in range(1, len(ROWS) + 1)])
    assert {guess["class"] for each in found for guess in each["top"]} == {"a", "b", "c"}


def test_a_table(pushed, tmp_path):
    file = tmp_path / "rows.csv"
    with open(file, "w", newline="", encoding="utf-8-sig") as opened:
        writer = csv.writer(opened)
        writer.writerow(["ignored", *reversed(TABLE)])
        for row in ROWS:
            cells = [row[name][0] if row[name] else "" for name in reversed(TABLE)]
            writer.writerow(["x", *(c.decode() if isinstance(c, bytes) else c for c in cells)])
    found = answers(ask(pushed.table, "--json", file))
    expected = np.repeat(served(pushed.table, ROWS)[:, 0], 2)
    assert expected.std() > 0.2
    np.testing.assert_allclose([each["value"] for each in found], expected, rtol=1e-6)
    assert [each["example"] for each in found[::2]] == [
        f"{file}:{at + 2}" for at in range(len(ROWS))
    ]
    assert set(found[0]) == {"example", "format", "variant", "version", "value"}


def test_lines_of_text(pushed, tmp_path):
    texts = ["Good film, and the plot!", "", "bad", "(and) café GRÖSSE"]
    file = tmp_path / "reviews.txt"
    file.write_text("\n".join(texts) + "\n")
    found = answers(ask(pushed.text, "--json", "--top-k", "3", file))
    rows = [{"review": [text.encode()]} for text in texts]
    # Each label has a probability of its own.
    assert_answered(
        found, expit(served(pushed.text, rows)), [f"{file}:{at}" for at in (1, 2, 3, 4)]
    )


def test_images_below_a_directory(pushed, tmp_path):
    for name, row in zip(
        ("b/2.PNG", "b/1.png", "a.png", ".hidden/3.png", "b/.4.png"), ROWS, strict=False
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(row["photo"][0])
    (tmp_path / "b" / "notes.md").write_text("no image")
    found = answers(ask(pushed.image, "--json", "--top-k", "2", tmp_path))
    sources = [str(tmp_path / name) for name in ("a.png", "b/1.png", "b/2.PNG")]
    logits = served(pushed.image, [ROWS[2], ROWS[1], ROWS[0]])
    assert_answered(found, softmax(logits, axis=1), sources)
    assert {guess["class"] for each in found for guess in each["top"]} == {"no", "yes"}


@pytest.mark.parametrize(
    ("size", "mode", "suffix"),
    [
        ((40, 23), "RGB", "jpg"),
        ((8, 8), "RGBA", "png"),
        ((100, 50), "P", "png"),
        ((3, 5), "1", "png"),
        ((30, 30), "LA", "webp"),
        ((30, 30), "CMYK", "jpg"),
    ],
    ids=str,
)
def test_any_size_and_mode_becomes_the_same_pixels_in_both_formats(
    pushed, tmp_path, size, mode, suffix
):
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = tmp_path / f"picture.{suffix}"
    Image.fromarray(pixels).convert(mode).save(file)
    one, other = answers(ask(pushed.image, "--json", "--top-k", "2", file))
    assert [guess["index"] for guess in one["top"]] == [guess["index"] for guess in other["top"]]
    np.testing.assert_allclose(
        [guess["probability"] for guess in one["top"]],
        [guess["probability"] for guess in other["top"]],
        atol=1e-5,
    )


def test_an_image_inside_json(pushed, tmp_path):
    import base64

    image = tmp_path / "one.png"
    image.write_bytes(ROWS[0]["photo"][0])
    file = tmp_path / "one.jsonl"
    encoded = base64.b64encode(ROWS[0]["photo"][0]).decode()
    file.write_text(json.dumps({"photo": {"b64": encoded}}) + "\n" + '{"photo": "one.png"}\n')
    found = answers(ask(pushed.image, "--json", "--format", "tflite", image, file))
    assert len({json.dumps(each["top"]) for each in found}) == 1 and len(found) == 3


def test_table_of_answers(pushed, tmp_path):
    for at in (0, 1):
        (tmp_path / f"{at}.png").write_bytes(ROWS[at]["photo"][0])
    result = ask(pushed.image, "--top-k", "2", tmp_path / "1.png", tmp_path / "0.png")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second, blank, *table = result.stdout.splitlines()
    (version,) = (path.name for path in (pushed.image / "tflite").iterdir())
    assert first == f"saved_model: {pushed.image / 'saved_model' / version}"
    assert second == f"tflite float32: {pushed.image / 'tflite' / version / 'model.tflite'}"
    assert blank == ""
    assert table[0].split() == ["example", "format", "class", "probability"]
    named = [line.split()[0] for line in table[2:] if not line.startswith(" ")]
    assert named == [str(tmp_path / "1.png"), str(tmp_path / "0.png")]
    assert len(table[2:]) == 2 * 2 * 2
    probabilities = softmax(served(pushed.image, [ROWS[1]]), axis=1)[0]
    guess = [("no", "yes")[probabilities.argmax()], f"{probabilities.max():.4f}"]
    assert table[2].split()[1:] == ["saved_model", *guess]
    assert table[4].split() == ["tflite", "float32", *guess]


def test_table_of_values(pushed, tmp_path):
    file = write_json_lines(tmp_path / "rows.jsonl", ROWS[:1], TABLE)
    result = ask(pushed.table, "--format", "tflite", file)
    _, _, header, _, row = result.stdout.splitlines()
    assert header.split() == ["example", "format", "value"]
    value = f"{served(pushed.table, ROWS[:1])[0, 0]:.6g}"
    assert row.split() == [f"{file}:1", "tflite", "float32", value]


# -- what is wrong with the files --


def bad_csv(tmp_path, text, **options):
    file = tmp_path / "bad.csv"
    file.write_text(text, **options)
    return file


HEADER = "score,petal length (cm),zip\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": must have a header with the names of the columns, but is empty"),
        ("age,score\n1,2\n", " line 2, column petal length (cm): is missing; there are age, score"),
        (f"{HEADER},1,2\n", " line 2, column score: is missing, and every example must have it"),
        (
            f"{HEADER}0,1,2\n0,two,2\n",
            " line 3, column petal length (cm): must be a number, got 'two'",
        ),
        (f"{HEADER}0,1,2.5\n", " line 2, column zip: must be an integer, got '2.5'"),
        (f"{HEADER}0,1\n", " line 2: must have 3 cells as the header, got 2"),
        (f'{HEADER}0,1,"2\n', " line 2: unexpected end of data"),
    ],
)
def test_a_bad_table(pushed, tmp_path, text, problem):
    file = bad_csv(tmp_path, text)
    line, *_ = errors(ask(pushed.table, file), 2)
    assert line.startswith(f"FILE: {file}{problem}")


def test_a_table_of_another_encoding(pushed, tmp_path):
    file = bad_csv(tmp_path, "score,petal length (cm),zip,city\n0,1,2,Genève\n", encoding="latin-1")
    (line,) = errors(ask(pushed.table, file), 2)
    assert line == f"FILE: {file} is not UTF-8 (invalid continuation byte); save it as UTF-8"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"review": "good"', " line 2: must be one JSON object (Expecting "),
        ("[1, 2]", " line 2: must be one JSON object, got [1, 2]"),
        ('{"review": 3}', " line 2, column review: must be a string, got 3"),
        ('{"review": ["a", "b"]}', " line 2, column review: must be one value, got 2"),
    ],
)
def test_bad_json_lines(pushed, tmp_path, text, problem):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"review": "fine"}\n' + text + "\n")
    (line,) = errors(ask(pushed.text, file), 2)
    assert line.startswith(f"FILE: {file}{problem}")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1e30", "must be an integer, got 1e+30"),
        ("true", "must be an integer, got True"),
        ('"1_0"', "must be an integer, got '1_0'"),
        ("2.5", "must be an integer, got 2.5"),
        ("[1]", None),
        ("12.0", None),
    ],
)
def test_integers_in_json(pushed, tmp_path, value, problem):
    file = tmp_path / "one.jsonl"
    file.write_text('{"score": 1, "petal length (cm)": 3, "zip": ' + value + "}\n")
    result = ask(pushed.table, "--format", "tflite", "--json", file)
    if problem is None:
        assert len(answers(result)) == 1
    else:
        assert errors(result, 2) == [f"FILE: {file} line 1, column zip: {problem}"]


def test_every_bad_file_is_named_and_none_answered(pushed, tmp_path):
    good, notes, cut = tmp_path / "good.png", tmp_path / "notes.md", tmp_path / "cut.png"
    good.write_bytes(ROWS[0]["photo"][0])
    notes.write_text("no image")
    cut.write_bytes(good.read_bytes()[:90])
    empty, none = tmp_path / "empty", tmp_path / "none.png"
    empty.mkdir()
    found = errors(ask(pushed.image, good, notes, cut, empty, none), 2)
    assert found[0].startswith(f"FILE: {notes}: not a PNG, JPEG, WebP, BMP or GIF file (8 bytes)")
    assert found[1].startswith(f"FILE: {empty} must have image files (.png, ")
    assert found[2] == f"FILE: {none} cannot be read (No such file or directory)"


@pytest.mark.parametrize("name", ["x.png", "x.csv", "x.jsonl", "x.txt"])
def test_a_pipe_or_a_device_has_no_end(tmp_path, name):
    image = {"image": {"type": "string", "optional": False, "many": False}}
    reader = RowReader(image, frozenset({"image"}), frozenset())
    os.mkfifo(tmp_path / name)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "rows.csv").write_text(f"image\n{name}\n/dev/zero\n")
    with pytest.raises(ConfigError) as caught:
        reader.check([tmp_path / name, tmp_path / "zero.png", tmp_path / "rows.csv"])
    lines = str(caught.value).splitlines()
    assert [line.rpartition(" cannot be read ")[0] for line in lines] == [
        f"FILE: {tmp_path / name}",
        f"FILE: {tmp_path}/zero.png",
        f"FILE: {tmp_path}/rows.csv line 2, column image: {name}",
        f"FILE: {tmp_path}/rows.csv line 3, column image: /dev/zero",
    ]


def test_a_file_that_is_not_enough(pushed, tmp_path):
    image, text = tmp_path / "one.png", tmp_path / "one.txt"
    image.write_bytes(ROWS[0]["photo"][0])
    text.write_text("good")
    first, second = errors(ask(pushed.table, image, text), 2)
    takes = "alone cannot be asked, for the model takes age, city, income, petal length (cm), "
    assert first.startswith(f"FILE: {image}: an image {takes}")
    assert second.startswith(f"FILE: {text}: lines of text {takes}")


def test_an_image_that_goes_away_meanwhile(pushed, tmp_path):
    """What was answered before it is kept; then one line says why it ends."""
    for at in range(BATCH_SIZE + 3):
        (tmp_path / f"{at:03}.png").write_bytes(ROWS[0]["photo"][0])
    batches = predict(find_models(str(pushed.image), "tflite"), [tmp_path], 1)
    assert len(next(batches)) == BATCH_SIZE
    (tmp_path / f"{BATCH_SIZE + 2:03}.png").unlink()
    with pytest.raises(UserError, match=rf"{BATCH_SIZE + 2:03}\.png cannot be read .* until all"):
        list(batches)


def test_a_table_is_answered_without_tensorflow(pushed, tmp_path):
    file = write_json_lines(tmp_path / "rows.jsonl", ROWS[4:6], ["review"])
    code = """
import sys
from pathlib import Path
from modules.predict.prediction import predict
from modules.predict.pushed_models import find_models
from modules.predict.rows import RowReader
models = find_models(sys.argv[1], "tflite")
print(len(next(predict(models, [Path(sys.argv[2])], 1))))
print(*{"tensorflow", "tfx", "keras", "apache_beam", "tensorflow_transform"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(pushed.text), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2", ""]


# -- which model is asked --


@pytest.fixture(scope="module")
def run(image_graph, tmp_path_factory):
    """Two pushed versions, the older one with int8, the newest with float32 and int8."""
    output = tmp_path_factory.mktemp("run")
    serving_dir, exported = export(image_graph, output, ["float32", "int8"])
    older, newest = (
        push_exported(serving_dir, exported, variants, str(output / "pushed"))
        for variants in (["int8"], ["float32", "int8"])
    )
    image = output / "one.png"
    image.write_bytes(ROWS[0]["photo"][0])
    return SimpleNamespace(
        output=output,
        pushed=output / "pushed",
        older=str(older.version),
        newest=str(newest.version),
        image=image,
    )


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the pushed directory, to be damaged."""
    return Path(shutil.copytree(run.pushed, tmp_path / "pushed"))


def change_manifest(version, **changes):
    file = version / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_places_that_a_model_can_be_named_by(run, monkeypatch):
    def formats_and_versions(place):
        return [(model.format, model.version) for model in find_models(str(place))]

    both = [("saved_model", run.newest), ("tflite", run.newest)]
    assert formats_and_versions(run.output) == formats_and_versions(run.pushed) == both
    for form in ("saved_model", "tflite"):
        for version in (run.older, run.newest):
            assert formats_and_versions(run.pushed / form / version) == [(form, version)]
    monkeypatch.chdir(run.pushed / "saved_model" / run.older)
    assert formats_and_versions(".") == [("saved_model", run.older)]
    (model,) = find_models("../../tflite/../tflite/" + run.older)
    assert (model.version, model.variant) == (run.older, "int8")


def test_numbers_decide_which_version_is_the_newest(run, copied):
    for form in ("saved_model", "tflite"):
        (copied / form / run.older).rename(copied / form / "99")  # later in the alphabet
        (copied / form / ".staging-9999999999").mkdir()
    assert [model.version for model in find_models(str(copied))] == [run.newest] * 2


def test_one_format_or_variant_alone(run):
    (answer,) = answers(ask(run.output, "--json", "--format", "saved_model", run.image))
    assert answer["format"] == "saved_model"
    version = run.pushed / "tflite" / run.newest
    (line,) = errors(ask(version, "--format", "saved_model", run.image), 2)
    assert line == f"--format saved_model: {version} has only tflite"
    _, other = answers(ask(run.output, "--json", "--variant", "int8", run.image))
    assert other["variant"] == "int8"
    assert abs(other["top"][0]["probability"] - answer["top"][0]["probability"]) < 0.05
    (line,) = errors(ask(run.output, "--variant", "float16", run.image), 2)
    assert line.startswith("--variant must be one of float32, int8 in ")
    (line,) = errors(ask(run.output, "--variant", "int8", "--format", "saved_model", run.image), 2)
    assert line.startswith("--variant int8: only TFLite has variants")


def test_a_changed_file_is_not_asked(run, copied):
    file = copied / "tflite" / run.newest / "model.tflite"
    file.write_bytes(file.read_bytes() + b"\0")
    (line,) = errors(ask(copied, run.image), 1)
    assert line.startswith(
        f"{file} must be the file that its manifest describes, but its sha256 is"
    )
    assert answers(ask(copied, "--json", "--variant", "int8", run.image))


def test_a_changed_vocabulary_is_not_used(pushed, tmp_path):
    copied = Path(shutil.copytree(pushed.text, tmp_path / "pushed"))
    (file,) = copied.glob("tflite/*/vocabulary_review.txt")
    file.write_text("other\n")
    lines = tmp_path / "one.txt"
    lines.write_text("good\n")
    (line,) = errors(ask(copied, "--format", "tflite", lines), 1)
    assert line.startswith(f"{file} must be the file that its manifest describes")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": None}, "sha256: must be a valid string"),
        (
            {"file": "../../elsewhere.tflite"},
            "file: the name of a file must stay inside",
        ),
        ({"more": [{"variant": "int8"}]}, "more.0.file: must be set"),
    ],
)
def test_a_damaged_manifest(run, copied, changes, reason):
    version = copied / "tflite" / run.newest
    change_manifest(version, **changes)
    (line,) = errors(ask(copied, run.image), 1)
    assert line.startswith(f"{version / 'manifest.json'} is not a manifest ({reason}")


def test_manifests_that_say_too_little(run, copied):
    version = copied / "tflite" / run.newest
    change_manifest(version, preprocessing=None, schema_version=2)
    (line,) = errors(ask(version, run.image), 1)
    assert line.startswith(f"{version} has a manifest of schema 2, which does not say what a raw")
    change_manifest(version, preprocessing={"spec": {"a": 1}, "raw": {}, "vocabularies": {}})
    (line,) = errors(ask(version, run.image), 1)
    assert "has a specification that cannot be read (inputs: must be set)" in line
    (version / "manifest.json").write_text("{")
    (line,) = errors(ask(version, run.image), 1)
    assert line.startswith(f"{version}/manifest.json is not a manifest (Invalid JSON: ")
    shutil.rmtree(copied / "tflite")
    (line,) = errors(ask(copied, run.image), 1)
    assert line == f"{copied}/tflite/{run.newest}/manifest.json is missing; push the model again"


def test_an_output_that_does_not_fit_the_manifest(run, copied):
    version = copied / "tflite" / run.newest
    preprocessing = json.loads((version / "manifest.json").read_text())["preprocessing"]
    preprocessing["spec"]["output"] |= {"size": 3, "classes": ["a", "b", "c"]}
    change_manifest(version, preprocessing=preprocessing)
    (line,) = errors(ask(version, run.image), 1)
    assert line.endswith(
        f"answers 2 numbers, but the manifest of version {run.newest} says 3; push the model again"
    )


def test_a_saved_model_that_cannot_be_loaded(run, copied):
    broken = copied / "saved_model" / run.newest
    (broken / "saved_model.pb").write_bytes(b"no protocol buffer")
    (line,) = errors(ask(broken, run.image), 1)
    assert line.startswith(f"{broken / 'saved_model.pb'} must be the file that its manifest desc")


def test_what_the_users_own_function_makes_is_asked_as_saved_model(run, copied):
    for version in (copied / "tflite" / run.newest, copied / "tflite" / run.older):
        preprocessing = json.loads((version / "manifest.json").read_text())["preprocessing"]
        preprocessing["spec"]["features"] = {}
        change_manifest(version, preprocessing=preprocessing)
    assert {each["format"] for each in answers(ask(copied, "--json", run.image))} == {"saved_model"}
    (line,) = errors(ask(copied, "--format", "tflite", run.image), 2)
    assert "takes what the preprocessing_fn of the run makes of an example" in line
