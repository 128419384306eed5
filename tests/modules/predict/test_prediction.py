"""Pushed models asked about image files, through the command line that users have.

The models are built, exported and pushed by the functions that the pipeline calls.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from click.testing import CliRunner
from PIL import Image
from pushes import push_exported
from scipy.special import softmax

from modules.errors import ConfigError, UserError
from modules.export import saved_model
from modules.export.tflite import export_models
from modules.models import zoo
from modules.predict.prediction import BATCH_SIZE, check_images, find_images, predict
from modules.predict.pushed_models import find_models
from modules.settings import ModelSettings
from pipeline.cli.main import main

SETTINGS = ModelSettings(model="cnn_small", parameters={"filters": [8, 16]})
LABELS = [f"digit {number}" for number in range(10)]
COUNT = BATCH_SIZE + 8


def change_manifest(version: Path, **changes: object) -> None:
    file = version / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def run(digit_pixels, digit_labels, transformed_digits, tmp_path_factory):
    """Two pushed versions, the older one with int8, the newest with float32 and int8."""
    keras.utils.set_random_seed(0)
    model = zoo.build_model(SETTINGS, (8, 8, 1), 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss=loss, jit_compile=False)
    model.fit(digit_pixels[200:1200], digit_labels[200:1200], batch_size=50, epochs=4, verbose=0)
    output = tmp_path_factory.mktemp("run")
    serving_dir, tflite = str(output / "model" / "Format-Serving"), output / "tflite"
    graph = tft.TFTransformOutput(transformed_digits.graph_dir)
    saved_model.export(model, SETTINGS, graph, serving_dir)
    models = {"student": (model, ("float32", "int8"))}
    export_models(models, digit_pixels[200:300], LABELS, str(tflite))
    older, newest = (
        push_exported(serving_dir, tflite, variants, str(output / "pushed"))
        for variants in (["int8"], ["float32", "int8"])
    )
    images = output / "images"
    images.mkdir()
    for index, row in enumerate(transformed_digits.raw[:COUNT]):
        (images / f"{index:03}.png").write_bytes(row["image"])
    logits = model.predict(digit_pixels[:COUNT], verbose=0).astype(float)
    return SimpleNamespace(
        output=output,
        pushed=output / "pushed",
        images=images,
        older=str(older.version),
        newest=str(newest.version),
        probabilities=softmax(logits, axis=1),
        model=model,
    )


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the pushed directory, to be damaged."""
    return Path(shutil.copytree(run.pushed, tmp_path / "pushed"))


def ask(*arguments):
    return CliRunner().invoke(main, ["predict", "--model", *map(str, arguments)])


def answers(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def errors(result, code):
    """The lines of an error, of which nothing was answered before."""
    assert (result.exit_code, result.stdout) == (code, "")
    lines = result.stderr.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


def test_both_formats_answer_as_keras_does_on_the_same_pixels(run):
    found = answers(ask(run.output, "--json", "--top-k", "10", run.images))
    expected = run.probabilities
    assert len(np.unique(expected.argmax(1))) == 10  # every class is chosen for some image
    assert [(answer["format"], answer["variant"]) for answer in found] == [
        ("saved_model", None),
        ("tflite", "float32"),
    ] * COUNT
    assert {answer["version"] for answer in found} == {run.newest}
    names = [str(run.images / f"{index:03}.png") for index in range(COUNT)]
    assert [answer["image"] for answer in found[::2]] == names
    for place in (0, 1):
        for answer, row in zip(found[place::2], expected, strict=True):
            order = [guess["index"] for guess in answer["top"]]
            given = [guess["probability"] for guess in answer["top"]]
            assert order[0] == row.argmax()
            assert given == sorted(given, reverse=True)
            np.testing.assert_allclose(given, row[order], atol=1e-5)
            assert [guess["class"] for guess in answer["top"]] == [LABELS[at] for at in order]


def test_integers_are_turned_back_into_logits(run):
    found = answers(
        ask(run.output, "--json", "--format", "tflite", "--variant", "int8", run.images)
    )
    assert {answer["variant"] for answer in found} == {"int8"}
    top = np.array([answer["top"][0]["probability"] for answer in found])
    chosen = [answer["top"][0]["index"] for answer in found]
    difference = np.abs(top - run.probabilities[np.arange(COUNT), chosen])
    assert 1e-4 < difference.max() < 0.1  # quantized, but to the same logits


@pytest.mark.parametrize(
    ("size", "mode", "suffix"),
    [
        ((40, 23), "RGB", "jpg"),
        ((8, 8), "RGBA", "png"),
        ((100, 50), "P", "png"),
        ((3, 5), "1", "png"),
        ((16, 16), "I;16", "png"),
        ((30, 30), "LA", "png"),
    ],
    ids=str,
)
def test_any_size_and_mode_becomes_the_same_pixels_in_both_formats(
    run, tmp_path, size, mode, suffix
):
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    picture = Image.fromarray(pixels)
    file = tmp_path / f"picture.{suffix}"
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(file)
    else:
        picture.convert(mode).save(file)
    one, other = answers(ask(run.pushed, "--json", "--top-k", "10", file))
    assert [guess["index"] for guess in one["top"]] == [guess["index"] for guess in other["top"]]
    np.testing.assert_allclose(
        [guess["probability"] for guess in one["top"]],
        [guess["probability"] for guess in other["top"]],
        atol=1e-5,
    )


def test_table(run):
    images = [run.images / "003.png", run.images / "001.png"]
    result = ask(run.output, "--top-k", "2", *images)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second, blank, *table = result.stdout.splitlines()
    assert first == f"saved_model: {run.pushed / 'saved_model' / run.newest}"
    assert second == f"tflite float32: {run.pushed / 'tflite' / run.newest / 'model.tflite'}"
    assert blank == ""
    assert table[0].split() == ["image", "format", "class", "probability"]
    named = [line.split()[0] for line in table[2:] if not line.startswith(" ")]
    assert named == [str(image) for image in images]
    assert len(table[2:]) == 2 * 2 * 2
    guess = ["digit", str(run.probabilities[3].argmax()), f"{run.probabilities[3].max():.4f}"]
    assert table[2].split()[1:] == ["saved_model", *guess]
    assert table[4].split() == ["tflite", "float32", *guess]


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
    assert (model.version, model.file.variant) == (run.older, "int8")


def test_numbers_decide_which_version_is_the_newest(run, copied):
    for form in ("saved_model", "tflite"):
        (copied / form / run.older).rename(copied / form / "99")  # later in the alphabet
        (copied / form / ".staging-9999999999").mkdir()
    assert [model.version for model in find_models(str(copied))] == [run.newest] * 2


def test_a_saved_model_without_a_manifest_answers_with_class_numbers(run, copied):
    shutil.rmtree(copied / "tflite")
    (answer,) = answers(ask(copied, "--json", "--top-k", "1", run.images / "004.png"))
    (guess,) = answer["top"]
    chosen = int(run.probabilities[4].argmax())
    assert (guess["class"], guess["index"]) == (str(chosen), chosen)


def test_an_image_that_only_the_graph_refuses(run, copied, tmp_path):
    """Without a manifest nothing says beforehand that the model takes gray pixels."""
    shutil.rmtree(copied / "tflite")
    file = tmp_path / "print.jpg"
    Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(file)
    (line,) = errors(ask(copied, run.images / "000.png", file), 1)
    start = f"one of the images from {run.images / '000.png'} to {file} cannot be answered (jpeg::"
    assert line.startswith(start)


def test_one_format_alone(run):
    image = run.images / "000.png"
    (answer,) = answers(ask(run.output, "--json", "--format", "saved_model", image))
    assert answer["format"] == "saved_model"
    version = run.pushed / "tflite" / run.newest
    (line,) = errors(ask(version, "--format", "saved_model", image), 2)
    assert line == f"--format saved_model: {version} has only tflite"


def test_more_classes_than_there_are(run):
    (answer, _) = answers(ask(run.output, "--json", "--top-k", "99", run.images / "000.png"))
    assert len(answer["top"]) == 10


def test_unknown_variant(run):
    image = run.images / "000.png"
    (line,) = errors(ask(run.output, "--variant", "float16", image), 2)
    assert line.startswith("--variant must be one of float32, int8 in ")
    (line,) = errors(ask(run.output, "--variant", "int8", "--format", "saved_model", image), 2)
    assert line.startswith("--variant int8: only TFLite has variants")


def test_a_changed_file_is_not_asked(run, copied):
    file = copied / "tflite" / run.newest / "model.tflite"
    file.write_bytes(file.read_bytes() + b"\0")
    (line,) = errors(ask(copied, run.images), 1)
    assert line.startswith(
        f"{file} must be the file that its manifest describes, but its sha256 is"
    )
    assert answers(ask(copied, "--json", "--variant", "int8", run.images / "000.png"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": None}, "sha256: Input should be a valid string"),
        (
            {"file": "../../elsewhere.tflite"},
            "file: Value error, the name of a file must stay inside",
        ),
        ({"more": [{"variant": "int8"}]}, "more.0.file: Field required"),
    ],
)
def test_a_damaged_manifest(run, copied, changes, reason):
    version = copied / "tflite" / run.newest
    change_manifest(version, **changes)
    (line,) = errors(ask(copied, run.images), 1)
    assert line.startswith(f"{version / 'manifest.json'} is not a manifest ({reason}")


def test_manifests_that_are_no_json_or_gone(run, copied):
    manifest = copied / "tflite" / run.newest / "manifest.json"
    manifest.write_text("{")
    (line,) = errors(ask(manifest.parent, run.images), 1)
    assert line.startswith(f"{manifest} is not a manifest (Invalid JSON: ")
    manifest.unlink()
    (line,) = errors(ask(manifest.parent, run.images), 1)
    assert line == f"{manifest} is missing; push the model again"


def test_labels_that_do_not_fit_the_model(run, copied):
    version = copied / "tflite" / run.newest
    change_manifest(version, labels=["yes", "no"])
    (line,) = errors(ask(version, run.images), 1)
    assert "a logit for each of 2 labels out, but model.tflite has " in line
    (line,) = errors(ask(copied / "saved_model" / run.newest, run.images), 1)
    assert line.endswith(
        f"answers with 10 classes, but the manifest of version {run.newest} names 2; push the "
        "model again"
    )


def test_a_saved_model_that_cannot_be_loaded(run, copied):
    broken = copied / "saved_model" / run.newest
    (broken / "saved_model.pb").write_bytes(b"no protocol buffer")
    (line,) = errors(ask(broken, run.images), 1)
    assert line.startswith(f"{broken / 'saved_model.pb'} must be the file that its manifest desc")
    shutil.rmtree(copied / "tflite")  # with the manifest
    (line,) = errors(ask(broken, run.images), 1)
    assert line.startswith(f"{broken} cannot be loaded (") and line.endswith("push the model again")


def test_every_bad_file_is_named_and_none_answered(run, tmp_path):
    text, cut = tmp_path / "notes.txt", tmp_path / "cut.png"
    text.write_text("no image")
    cut.write_bytes((run.images / "000.png").read_bytes()[:90])
    found = errors(ask(run.output, run.images, text, cut), 2)
    assert [line.split(": ")[1] for line in found] == [str(text), str(cut)]
    assert "not a PNG or JPEG file (8 bytes)" in found[0]
    assert "the image cannot be decoded (Invalid PNG data, size 90)" in found[1]


def test_an_image_that_goes_away_meanwhile(run, tmp_path):
    """What was answered before it is kept; then one line says why it ends."""
    folder = Path(shutil.copytree(run.images, tmp_path / "images"))
    images = find_images([folder])
    batches = predict(find_models(str(run.output), "tflite"), images, 1)
    assert len(next(batches)) == BATCH_SIZE
    images[-1].unlink()
    with pytest.raises(UserError, match=r"No such file .*039\.png"):
        next(batches)


def test_pixels_for_tflite_are_those_of_transform(transformed_digits, run, tmp_path):
    """The serving signature has Transform's own graph in it: it must see the same image."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8))
    picture.save(tmp_path / "picture.png")
    from modules.data.preprocessing import IMAGE, image_pixels

    encoded = (tmp_path / "picture.png").read_bytes()
    layer = tft.TFTransformOutput(transformed_digits.graph_dir).transform_features_layer()
    raw = layer({IMAGE: tf.constant([[encoded]])})[IMAGE].numpy().item()
    np.testing.assert_array_equal(
        image_pixels(encoded, (8, 8, 1)).numpy(), np.frombuffer(raw, np.uint8).reshape(8, 8, 1)
    )


def test_directories_are_searched_at_any_depth(tmp_path):
    for name in ("b/2.PNG", "b/1.jpeg", "a.jpg", "b/notes.txt", ".hidden/3.png", "b/.4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path])]
    assert found == ["a.jpg", "b/1.jpeg", "b/2.PNG"]
    named = [tmp_path / "b" / "notes.txt", tmp_path / "a.jpg"]
    assert find_images(named) == named


def test_color_is_what_the_model_takes_not_what_the_file_has(tmp_path):
    cmyk = tmp_path / "print.jpg"
    Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(cmyk)
    check_images([cmyk], 3)
    with pytest.raises(ConfigError, match=r"print\.jpg: the image cannot be decoded"):
        check_images([cmyk], 1)
