"""The Python of the pages does what they say; clouds are not asked, there it only compiles."""

import inspect
import sys
from types import ModuleType

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkout import ROOT
from pages import PAGES, blocks
from sklearn.datasets import load_digits
from small_models import class_output, image_input

import tfx_distill
from modules.models.image import resnet_small
from modules.models.zoo import build_model
from modules.settings import ModelSettings

KERAS = blocks(ROOT / "docs" / "keras.md", "python")


def test_python_of_all_pages_compiles():
    excerpts = [each for page in PAGES for each in blocks(page, "python")]
    for excerpt in excerpts:
        compile(excerpt, "page", "exec")
    assert len(excerpts) >= 5


def test_distillation_without_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs, output = image_input((32, 32, 3)), class_output(10)
    resnet_small(inputs, output, widths=(4, 8)).save("teacher.keras")
    images = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(48) % 10
    names = {"images": images[:32], "labels": labels[:32]}
    names |= {"more_images": images[32:], "more_labels": labels[32:]}
    first, features, unlabeled, _ = KERAS
    exec(first, names)
    saved = keras.saving.load_model("student.keras")
    logits = names["student"].predict(images, verbose=0)
    np.testing.assert_array_equal(saved.predict(images, verbose=0), logits)
    assert len(names["distiller"].history.epoch) == 10

    exec(features, names)
    distiller = names["distiller"]
    distiller.compile("adam")
    results = distiller.evaluate(images, labels, verbose=0, return_dict=True)
    assert {"decoupled_loss", "hint_loss"} < set(results)

    names["labels"][8:] = -1
    exec(unlabeled, names)
    assert np.isfinite(distiller.history.history["loss"]).all()


@pytest.mark.e2e
@pytest.mark.slow
def test_the_pipeline_from_python(miniature_run, tmp_path, monkeypatch, capsys):
    """The run itself is one that is there already; what is called is what `run` would accept."""
    run = inspect.signature(tfx_distill.run)
    started = []

    def finished_run(*arguments, **more):
        started.append(run.bind(*arguments, **more).arguments)
        return miniature_run.outcome

    monkeypatch.setattr(tfx_distill, "run", finished_run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(miniature_run.output)
    three = load_digits().images[3, :, :, None] * 255 / 16
    (tmp_path / "three.png").write_bytes(tf.io.encode_png(three.astype(np.uint8)).numpy())
    names = {}
    exec(KERAS[-1], names)
    (given,) = started
    assert given["config"].distill.temperature == 2 and given["output"] == "runs/digits"
    assert names["report"].name == "digits"
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {format_ for format_, *_ in printed} == {"saved_model", "tflite"}
    assert all(answer in "0123456789" and 0 < float(p) <= 1 for _, answer, p in printed)


def test_a_builder_of_ones_own(monkeypatch):
    (excerpt,) = blocks(ROOT / "docs" / "models.md", "python")
    shop = ModuleType("shop.models")
    exec(excerpt, vars(shop))
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.models", shop)
    settings = ModelSettings(model="shop.models:small_net", parameters={"width": 24})
    model = build_model(settings, image_input(), class_output(10))
    assert model.output_shape == (None, 10)
