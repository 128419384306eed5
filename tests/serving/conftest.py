"""What is pushed by a run, and by the functions of one, with examples to ask it about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from modules.predict.pushed_models import PushedModel
    from modules.push.manifest import TFLiteFile

VARIANTS = ("float32", "dynamic_range", "float16", "int8")


@dataclass(frozen=True)
class Pushed:
    """A version, raw examples, and what the runs of them must come to.

    Attributes:
      destination: Where it was pushed to.
      graph: Directory of the transform graph.
      serialized: Raw `tf.train.Example`s.
      labels: Their class ids, `[n]`, or None.
      accuracies: Of `student` and each variant, as the report has them; without labels none.
    """

    destination: Path
    graph: str
    serialized: list[bytes]
    labels: NDArray[np.int64] | None
    accuracies: dict[str, float]

    def model(self, kind: str, variant: str | None = None) -> PushedModel:
        """The SavedModel, or the TFLite file of a variant."""
        from modules.predict.pushed_models import find_models

        (found,) = find_models(str(self.destination), kind, variant)
        return found

    def described(self, variant: str) -> TFLiteFile:
        """What the manifest says of a TFLite file."""
        from modules.push.manifest import Manifest

        directory = Path(self.model("tflite").path).parent
        manifest = Manifest.model_validate_json((directory / "manifest.json").read_text())
        return next(each for each in manifest.tflite if each.variant == variant)

    @property
    def classes(self) -> list[str]:
        """Their names."""
        return list(self.model("saved_model").output.classes)

    @cached_property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """What a client makes of the examples for a TFLite file, `[n, ...]` by name."""
        import tensorflow as tf

        from modules.predict.features import transformations
        from modules.predict.rows import Row

        model = self.model("tflite")
        rows = []
        for each in self.serialized:
            features = tf.train.Example.FromString(each).features.feature
            values = {}
            for name in model.preprocessing.raw:
                kind = features[name].WhichOneof("kind")
                values[name] = list(getattr(features[name], kind).value) if kind else []
            rows.append(Row("", values))
        return transformations(model.spec, model.vocabularies())(rows)

    def answers(self, variant: str | None = None) -> NDArray[np.float32]:
        """The logits `[n, classes]` of our own runtimes, as `tfx-distill predict` uses them."""
        from modules.export import runtimes

        if variant:
            path = self.model("tflite", variant).path
            return runtimes.load(runtimes.LITERT, path).answer(self.inputs)
        path = self.model("saved_model").path
        return runtimes.load(runtimes.SAVED_MODEL, path).answer(self.serialized)

    def assert_as_reported(self, logits: NDArray[Any], role: str, others: int = 0) -> None:
        """Logits reach the accuracy that the report says of the student or a variant.

        Args:
          logits: `[n, classes]`.
          role: `student` or the variant.
          others: Examples that may be answered otherwise.
        """
        if self.labels is not None:
            right = np.sum(np.argmax(logits, axis=1) == self.labels)
            expected = self.accuracies[role] * len(self.labels)
            assert right == pytest.approx(expected, abs=others + 1e-6)


@pytest.fixture(scope="session")
def digits(
    miniature_run: Any, read_examples: Any, tmp_path_factory: pytest.TempPathFactory
) -> Pushed:
    """What a run made, every file of it pushed, and the eval split."""
    from pushes import push_exported
    from tfx.utils import path_utils

    uris = miniature_run.uris
    destination = tmp_path_factory.mktemp("digits")
    push_exported(
        path_utils.serving_model_path(uris["Distiller.model"]),
        Path(uris["Exporter.tflite"]),
        list(VARIANTS),
        str(destination),
    )
    report = json.loads(Path(uris["Evaluator.evaluation"], "report.json").read_text())
    examples = read_examples(f"{uris['ExampleGen.examples']}/Split-eval")
    return Pushed(
        destination,
        uris["Transform.transform_graph"],
        [each.SerializeToString() for each in examples],
        np.array([each.features.feature["label"].int64_list.value[0] for each in examples]),
        {
            "student": report["student"]["accuracy"],
            **{name: report["variants"][name]["accuracy"] for name in VARIANTS},
        },
    )


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """Numbers, categories, texts and an image, some of them missing; nothing was trained."""
    from pushed_models import make_graph, push
    from transforming import serialize

    directory = tmp_path_factory.mktemp("mixed")
    graph = make_graph(directory / "graph", "classification")
    serialized = [serialize(row) for row in graph.rows]
    return Pushed(push(graph, directory, VARIANTS), graph.directory, serialized, None, {})


@pytest.fixture(params=["digits", "mixed"])
def pushed(request: pytest.FixtureRequest) -> Pushed:
    """Each of them; nothing of the other is made."""
    found: Pushed = request.getfixturevalue(request.param)
    return found
