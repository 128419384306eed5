"""`tfx-distill run digits` as a user runs it, and what it leaves behind."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from modules.data.sources.digits import png
from modules.data.splits import example_id, in_eval_split
from pipeline.config import load_config

# `make test` runs the whole pipeline, too, with small models: `miniature_run` in tests/conftest.py.
pytestmark = [pytest.mark.thorough, pytest.mark.e2e, pytest.mark.slow]

COMMAND = str(Path(sys.executable).with_name("tfx-distill"))
# A process that knows nothing but TensorFlow, as a server does.
SERVE = """
import sys
import numpy as np
import tensorflow as tf

saved_model, images, answers = sys.argv[1:]
model = tf.saved_model.load(saved_model)
examples = [
    tf.train.Example(
        features=tf.train.Features(
            feature={"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
        )
    ).SerializeToString()
    for image in np.load(images, allow_pickle=True)
]
output = model.signatures["serving_default"](examples=tf.constant(examples))
np.savez(answers, **{name: tensor.numpy() for name, tensor in output.items()})
"""


def tfx_distill(*arguments):
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "run"
    done = tfx_distill("run", "digits", "--output", str(directory))
    assert done.returncode == 0, done.stdout + done.stderr
    (directory / "stdout.txt").write_text(done.stdout)
    return directory


@pytest.fixture(scope="module")
def report(output):
    return json.loads((output / "report" / "report.json").read_text())


@pytest.fixture(scope="module")
def eval_examples():
    """PNG files, raw pixels and labels of the eval split, straight from scikit-learn."""
    settings, digits = load_config("digits").data, load_digits()
    images, pixels, labels = [], [], []
    for index in range(len(digits.target)):
        image = png(index)
        if in_eval_split(example_id(image), settings):
            images.append(image)
            pixels.append(np.rint(digits.images[index] * 255 / 16).astype(np.uint8)[..., None])
            labels.append(int(digits.target[index]))
    return images, np.stack(pixels), np.array(labels)


def only_version(directory):
    (version,) = [path for path in directory.iterdir() if path.name.isdigit()]
    return version


def test_the_teacher_is_worth_its_while(report):
    """Few labels: the student learns from the teacher what it cannot learn from them."""
    teacher, student, comparison = report["teacher"], report["student"], report["comparison"]
    assert report["examples"]["eval"] >= 0.15 * 1797
    assert teacher["accuracy"] >= 0.85
    assert student["accuracy"] >= 0.85
    assert comparison["intervals"]["distillation_gain"][0] > 0.01
    assert set(report["variants"]) == {"float32", "float16", "dynamic_range", "int8"}
    for variant in report["variants"].values():
        assert variant["accuracy"] >= student["accuracy"] - 0.01
    assert teacher["parameters"] >= 10 * student["parameters"]
    assert comparison["speedup"]["ci_low"] > 1.5
    assert report["control"]["parameters"] == student["parameters"]
    assert report["gate"]["blessed"]


def test_the_report_says_what_each_model_learned_from(output, report):
    learned = report["learned_from"]
    labeled = learned["teacher"]["labeled"]
    assert 80 < labeled < 100  # the others chose the best epoch
    assert {each["labeled"] for each in learned.values()} == {labeled}
    unlabeled = {role: each["unlabeled"] for role, each in learned.items()}
    assert unlabeled == {"teacher": 0, "student": 1797 - 368 - 100, "control": 0}
    assert learned["control"]["steps_per_epoch"] == learned["student"]["steps_per_epoch"] > 40
    assert learned["teacher"]["steps_per_epoch"] < 5
    assert (
        f"Training examples: teacher and control {labeled} labeled, student {labeled} labeled and "
        "1,329 unlabeled."
    ) in " ".join((output / "stdout.txt").read_text().split())
    assert report["data"]["splits"]["unlabeled"]["examples"] == unlabeled["student"]


def test_the_pushed_saved_model_answers_serialized_examples_as_reported(
    output, report, eval_examples, tmp_path
):
    images, _, labels = eval_examples
    np.save(tmp_path / "images.npy", np.array(images, dtype=object), allow_pickle=True)
    model = only_version(output / "pushed" / "saved_model")
    answers = tmp_path / "answers.npz"
    subprocess.run(
        [sys.executable, "-c", SERVE, model, tmp_path / "images.npy", answers],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    with np.load(answers) as loaded:
        probabilities, logits = loaded["probabilities"], loaded["logits"]
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(
        probabilities, exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5
    )
    accuracy = (logits.argmax(-1) == labels).mean()
    assert accuracy == pytest.approx(report["student"]["accuracy"], abs=1e-9)


def count_right(path, pixels, labels):
    """Accuracy of a TFLite file in LiteRT alone."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    predicted = [run(image=image[None])["logits"].argmax() for image in pixels]
    return (predicted == labels).mean()


def test_the_pushed_tflite_file_answers_raw_pixels_as_reported(output, report, eval_examples):
    _, pixels, labels = eval_examples
    directory = only_version(output / "pushed" / "tflite")
    manifest = json.loads((directory / "manifest.json").read_text())
    variant = report["variants"][manifest["variant"]]
    assert report["gate"]["tflite"] == [manifest["variant"]]
    accuracy = count_right(directory / "model.tflite", pixels, labels)
    assert accuracy == pytest.approx(variant["accuracy"], abs=1e-9)
    assert manifest["metrics"]["accuracy"] == variant["accuracy"]
    digest = hashlib.sha256((directory / "model.tflite").read_bytes()).hexdigest()
    assert digest == manifest["sha256"] == variant["sha256"]
    assert manifest["labels"] == [str(digit) for digit in range(10)]


def test_both_formats_are_pushed_as_one_version(output):
    pushed = output / "pushed"
    assert only_version(pushed / "saved_model").name == only_version(pushed / "tflite").name


def test_the_run_prints_the_table_that_the_report_command_prints_again(output):
    printed = (output / "stdout.txt").read_text()
    again = tfx_distill("report", str(output))
    assert again.returncode == 0
    table, _, page = again.stdout.strip().rpartition("\n\n")
    assert table in printed
    assert page == f"Report page  {output / 'report' / 'index.html'}"
    assert "| teacher " in again.stdout
    assert "PASSED" in again.stdout
    assert str(only_version(output / "pushed" / "tflite") / "model.tflite") in printed


def test_looking_at_what_was_pushed(output, eval_examples, tmp_path):
    images, _, labels = eval_examples
    verified = tfx_distill("verify", str(output / "pushed"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for number, image in enumerate(images[:20]):
        (tmp_path / f"{number:02}.png").write_bytes(image)
    asked = tfx_distill("predict", "--model", str(output / "pushed"), "--json", str(tmp_path))
    assert asked.returncode == 0, asked.stdout + asked.stderr
    chosen = {"saved_model": [], "tflite": []}
    for line in asked.stdout.splitlines():
        answer = json.loads(line)
        chosen[answer["format"]].append(answer["top"][0]["class"])
    truth = [str(label) for label in labels[:20]]
    for classes in chosen.values():
        assert sum(map(str.__eq__, classes, truth)) >= 15


def test_every_variant_scores_as_reported(output, report, eval_examples):
    _, pixels, labels = eval_examples
    (exported,) = output.glob("pipeline_root/Exporter/tflite/*/student")
    accuracies = {
        file.parent.name: count_right(file, pixels, labels)
        for file in exported.glob("*/model.tflite")
    }
    judged = {name: each["accuracy"] for name, each in report["variants"].items()}
    assert accuracies == pytest.approx(judged, abs=1e-9)


def test_a_refused_student_exits_3_and_pushes_nothing(output, tmp_path):
    # In the same directory, so that training is served from the cache.
    destination = tmp_path / "elsewhere"
    done = tfx_distill(
        *("run", "digits", "--output", str(output)),
        *("--set", "gate.min_speedup=100000", "--set", f"push.destination={destination}"),
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "REFUSED" in done.stdout
    assert "min_speedup" in done.stdout
    assert not destination.exists()
    refused = json.loads((output / "report" / "report.json").read_text())
    assert not refused["gate"]["blessed"]
    names = [check["name"] for check in refused["gate"]["checks"] if not check["passed"]]
    assert names == [*(f"min_speedup[{each}]" for each in refused["variants"]), "push.tflite"]
