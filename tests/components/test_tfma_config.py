"""TFMA and our own metrics on the same answers: two ways to the same numbers, for every task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx.components.evaluator import executor as _tfx_executor  # noqa: F401 (registers EvalConfig)

from components.evaluator.tfma_config import slice_numbers, tfma_config
from modules.data.spec import OutputSpec
from modules.measure.registry import metrics_of
from modules.settings import EvaluateSettings, Task

COUNT = 120
SIZES: dict[Task, int] = {"classification": 5, "binary": 2, "multilabel": 3, "regression": 1}


class _Answering(tf.Module):
    """A model that answers what the example itself holds under a name."""

    def __init__(self, task: Task, name: str):
        super().__init__()
        self._task, self._name = task, name

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        wanted = tf.io.FixedLenFeature([SIZES[self._task]], tf.float32)
        outputs = tf.io.parse_example(examples, {self._name: wanted})[self._name]
        if self._task == "regression":
            return {"values": outputs}
        squash = tf.sigmoid if self._task == "multilabel" else tf.nn.softmax
        return {"probabilities": squash(outputs), "logits": outputs}


def _labels(task: Task, outputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if task == "regression":
        return (outputs[:, 0] + rng.normal(size=COUNT)).astype(np.float32)
    if task == "multilabel":
        return (outputs + rng.normal(scale=2, size=outputs.shape) > 0).astype(np.int64)
    return (outputs + rng.gumbel(size=outputs.shape)).argmax(axis=1)


def _feature(values: Any) -> tf.train.Feature:
    values = np.atleast_1d(values)
    if values.dtype == np.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.mark.parametrize(
    "weighted",
    [
        # The same numbers with less; the Evaluator's own run is without weights, too.
        pytest.param(False, id="plain", marks=pytest.mark.thorough),
        pytest.param(True, id="weighted"),
    ],
)
@pytest.mark.parametrize("task", SIZES)
@pytest.mark.thorough
def test_tfma_finds_our_numbers(task: Task, weighted: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    outputs = {
        role: rng.normal(scale=2, size=(COUNT, SIZES[task])).astype(np.float32)
        for role in ("student", "teacher")
    }
    labels, sites = _labels(task, outputs["student"], rng), np.arange(COUNT) % 3
    weights = rng.gamma(2, size=COUNT).astype(np.float32)
    with tf.io.TFRecordWriter(str(tmp_path / "eval")) as writer:
        for at in range(COUNT):
            given = {"label": labels[at], "site": sites[at], "example_weight": weights[at]}
            given |= {role: values[at] for role, values in outputs.items()}
            features = {name: _feature(value) for name, value in given.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    settings = EvaluateSettings(top_k=(3,), slices=(("site",),))
    config = tfma_config(settings, OutputSpec(task=task, size=SIZES[task]), weighted=weighted)
    models = []
    for role in outputs:
        module = _Answering(task, role)
        tf.saved_model.save(module, str(tmp_path / role), {"serving_default": module.serve})
        models.append(
            tfma.default_eval_shared_model(
                str(tmp_path / role), model_name=role, eval_config=config
            )
        )
    tfma.run_model_analysis(
        eval_shared_model=models,
        eval_config=config,
        data_location=str(tmp_path / "eval"),
        output_path=str(tmp_path / "results"),
    )
    metrics = metrics_of(task, 0.95, 0, top_k=(3,) if task == "classification" else ())
    for role, values in outputs.items():
        ours = metrics.answers.from_outputs(labels, values, weights if weighted else None)
        theirs = slice_numbers(tfma.load_eval_result(str(tmp_path / "results"), model_name=role))
        assert set(theirs) == {(), *((("site", str(site)),) for site in range(3))}
        for key, found in theirs.items():
            chosen = ours.select(sites == int(key[0][1]) if key else np.arange(COUNT))
            expected = {name: each.value for name, each in metrics.statistics(chosen).items()}
            assert {*metrics.slice_numbers} - {"roc_auc", "top_k"} <= set(found)
            assert {name: expected[name] for name in found} == pytest.approx(found, rel=1e-4)
    result = tfma.load_eval_result(str(tmp_path / "results"), model_name="student")
    if task == "binary":
        (whole,) = (outputs for key, outputs in result.slicing_metrics if not key)
        area = whole[""]["classId:1"]["auc"]["doubleValue"]
        ours = metrics.answers.from_outputs(
            labels, outputs["student"], weights if weighted else None
        )
        assert area == pytest.approx(metrics.statistics(ours)["roc_auc"].value, abs=1e-3)


@pytest.mark.parametrize(("task", "key"), [("regression", "values"), ("binary", "probabilities")])
def test_the_task_decides_what_is_read(task: Task, key: str) -> None:
    config = tfma_config(EvaluateSettings(), OutputSpec(task=task, size=2), weighted=True)
    for spec in config.model_specs:
        assert (spec.prediction_key, spec.label_key) == (key, "label")
        assert spec.example_weight_key == "example_weight"
    (metrics,) = (spec.metrics for spec in config.metrics_specs)
    of_positive = [each.class_name for each in metrics if each.config]
    assert of_positive == (["AUC", "AUCPrecisionRecall"] if task == "binary" else [])
    assert all(json.loads(each.config) == {"class_id": 1} for each in metrics if each.config)
