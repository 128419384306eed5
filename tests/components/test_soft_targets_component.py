"""SoftTargets: its wiring, what its cache key depends on, and what it left in a real run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_models import load_saved
from tfx import types
from tfx.types import standard_artifacts

import components
from components import artifacts
from components.soft_targets.component import SoftTargets
from components.soft_targets.executor import Executor
from modules.data.augmentation import augment
from modules.errors import ConfigError
from modules.models.known import KnownModel
from modules.settings import (
    AugmentSettings,
    DataSettings,
    DistillSettings,
    MethodSettings,
    ModelSettings,
)
from modules.teachers.cache import SoftTargetCache

INPUTS = {
    "examples": standard_artifacts.Examples,
    "transform_graph": standard_artifacts.TransformGraph,
    "teachers": standard_artifacts.Model,
}
FLIP = AugmentSettings(flip=True, pad_crop=1)


def make_component(**replaced: Any) -> SoftTargets:
    channels = {name: types.Channel(type=kind) for name, kind in INPUTS.items()}
    channels |= {name: replaced.pop(name) for name in INPUTS if name in replaced}
    channels["teachers"] = [channels["teachers"]]
    parameters = {
        "models": [KnownModel.of(ModelSettings(model="separable_cnn"))],
        "distill": DistillSettings(),
        "augment": AugmentSettings(),
        "data": DataSettings(split_seed=16),
        "seed": 5,
        "code_digest": "abc",
    }
    return SoftTargets(**{**channels, **parameters, **replaced})


def request_of(**replaced: Any) -> dict[str, Any]:
    return json.loads(make_component(**replaced).exec_properties["request"])


def test_component_has_its_channels_and_properties() -> None:
    component = make_component()
    assert component.id == "SoftTargets"
    assert component.executor_spec.executor_class is Executor
    assert {name: channel.type for name, channel in component.inputs.items()} == INPUTS
    assert {name: channel.type for name, channel in component.outputs.items()} == {
        "soft_targets": artifacts.TeacherLogits
    }
    properties = component.exec_properties
    assert set(properties) == {"request", "models", "data", "code_digest"}
    assert DataSettings.model_validate_json(properties["data"]) == DataSettings(split_seed=16)
    assert properties["code_digest"] == "abc"


@pytest.mark.parametrize("name", INPUTS)
def test_component_refuses_another_artifact_type(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make_component(**{name: types.Channel(type=standard_artifacts.Schema)})


def test_the_artifact_type_is_found_by_its_name() -> None:
    """The Kubeflow v2 runner imports `package.Class`."""
    package, _, name = artifacts.TeacherLogits.TYPE_NAME.rpartition(".")
    assert (package, name) == ("components", "TeacherLogits")
    assert components.TeacherLogits is artifacts.TeacherLogits


def test_the_request_is_of_views_and_of_how_they_are_made() -> None:
    distill = DistillSettings(views=3, top_k=2)
    assert request_of(distill=distill, augment=FLIP) == {
        "views": 3,
        "top_k": 2,
        "augment": FLIP.model_dump(),
        "seed": 5,
    }


def test_without_augment_only_the_image_as_it_is_is_answered() -> None:
    assert request_of()["views"] == 0
    assert request_of(augment=FLIP)["views"] == 1


@pytest.mark.parametrize(
    "distill",
    [
        DistillSettings(alpha=0.9),
        DistillSettings(temperature=9),
        DistillSettings(methods=(MethodSettings(name="dist"),)),
        DistillSettings(methods=(MethodSettings(name="soft_target", weight=3),)),
        DistillSettings(generations=3),
        DistillSettings(assistants=(ModelSettings(model="separable_cnn"),)),
        DistillSettings(control=False),
    ],
)
def test_every_student_of_the_same_teachers_is_served_from_the_cache(
    distill: DistillSettings,
) -> None:
    assert make_component(distill=distill).exec_properties == make_component().exec_properties


@pytest.mark.parametrize(
    "changes",
    [
        {"distill": DistillSettings(views=2)},
        {"distill": DistillSettings(top_k=2)},
        {"augment": AugmentSettings(flip=True)},
        {"seed": 6},
        {"data": DataSettings(validation_fraction=0.3)},
        {"code_digest": "abd"},
    ],
    ids=str,
)
def test_what_changes_the_answers_changes_the_cache_key(changes: dict[str, Any]) -> None:
    before = make_component(augment=FLIP).exec_properties
    assert make_component(**{"augment": FLIP, **changes}).exec_properties != before


@pytest.fixture(scope="module")
def train_split(miniature_run: Any, read_examples: Any) -> dict[str, np.ndarray]:
    """Ids and pixels of the training split, in the order of the files."""
    directory = Path(miniature_run.uris["Transform.transformed_examples"], "Split-train")
    features = [example.features.feature for example in read_examples(str(directory))]
    raw = b"".join(feature["image"].bytes_list.value[0] for feature in features)
    return {
        "ids": np.array([feature["example_id"].bytes_list.value[0] for feature in features]),
        "pixels": np.frombuffer(raw, np.uint8).reshape(-1, 8, 8, 1),
    }


def load(miniature_run: Any, node: str) -> Any:
    return load_saved(Path(miniature_run.uris[f"{node}.model"], "Format-Keras"))


def records_of(directory: Path | str) -> list[bytes]:
    return list(SoftTargetCache(str(directory)).records().as_numpy_iterator())


def logits_of(directory: Path | str, ids: np.ndarray, view: int) -> np.ndarray:
    """`[n, teachers, classes]` of the first n records."""
    records = tf.constant(records_of(directory)[: len(ids)])
    views = tf.fill([len(ids)], tf.constant(view, tf.int64))
    return SoftTargetCache(str(directory)).logits(records, tf.constant(ids), views).numpy()


def assert_alike(logits: np.ndarray, expected: np.ndarray) -> None:
    """To the accuracy of float16."""
    np.testing.assert_allclose(logits, expected, rtol=2e-3, atol=2e-3)


def run_executor(miniature_run: Any, output: Path, nodes: list[str], **replaced: Any) -> Path:
    """Runs the executor on the miniature run's artifacts."""
    examples = standard_artifacts.Examples()
    examples.uri = miniature_run.uris["Transform.transformed_examples"]
    examples.split_names = '["train", "eval"]'
    graph = standard_artifacts.TransformGraph()
    graph.uri = miniature_run.uris["Transform.transform_graph"]
    teachers = {}
    for key, node in zip(("teachers", "teachers_2"), nodes, strict=False):
        teachers[key] = [standard_artifacts.Model()]
        teachers[key][0].uri = miniature_run.uris[f"{node}.model"]
    made = artifacts.TeacherLogits()
    made.uri = str(output)
    config = miniature_run.config()
    known = {
        "TeacherTrainer": KnownModel.of(config.teacher),
        "Control": KnownModel.of(config.student),
    }
    models = [known[node] for node in nodes]
    settings = {"data": config.data, "models": models, **replaced}
    Executor().Do(
        {"examples": [examples], "transform_graph": [graph], **teachers},
        {"soft_targets": [made]},
        make_component(**settings).exec_properties,
    )
    return output


@pytest.mark.slow
def test_there_is_one_record_for_every_training_example(
    miniature_run: Any, train_split: dict[str, np.ndarray]
) -> None:
    directory = miniature_run.uris["SoftTargets.soft_targets"]
    ids = [record[:64] for record in records_of(directory)]
    assert ids == list(train_split["ids"])
    layout = SoftTargetCache(directory).layout
    assert (layout.classes, layout.teachers, layout.views, layout.top_k) == (10, 1, 0, None)


@pytest.mark.slow
def test_the_run_kept_what_its_teacher_answers(
    miniature_run: Any, train_split: dict[str, np.ndarray]
) -> None:
    ids, pixels = train_split["ids"][:40], train_split["pixels"][:40]
    logits = logits_of(miniature_run.uris["SoftTargets.soft_targets"], ids, -1)
    assert logits.shape == (40, 1, 10)
    expected = load(miniature_run, "TeacherTrainer").predict(pixels, verbose=0)
    assert_alike(logits[:, 0], expected)
    assert np.abs(logits[:, 0] - load(miniature_run, "Distiller").predict(pixels)).max() > 0.1


@pytest.mark.slow
def test_every_view_of_every_teacher_in_order(
    miniature_run: Any, tmp_path: Path, train_split: dict[str, np.ndarray]
) -> None:
    nodes = ["Control", "TeacherTrainer"]
    run_executor(
        miniature_run, tmp_path, nodes, distill=DistillSettings(views=2), augment=FLIP, seed=9
    )
    ids, pixels = train_split["ids"][:30], train_split["pixels"][:30]
    assert len(records_of(tmp_path)) == len(train_split["ids"])
    shown = {-1: pixels}
    for view in range(2):
        views = tf.fill([30], tf.constant(view, tf.int64))
        shown[view] = augment(tf.constant(pixels), tf.constant(ids), views, FLIP, 9).numpy()
    assert not np.array_equal(shown[0], shown[1])
    models = [load(miniature_run, node) for node in nodes]
    for view, images in shown.items():
        logits = logits_of(tmp_path, ids, view)
        for index, model in enumerate(models):
            assert_alike(logits[:, index], model.predict(images, verbose=0))


@pytest.mark.slow
def test_top_k_keeps_the_largest_and_spreads_the_rest(
    miniature_run: Any, tmp_path: Path, train_split: dict[str, np.ndarray]
) -> None:
    run_executor(miniature_run, tmp_path, ["TeacherTrainer"], distill=DistillSettings(top_k=3))
    ids, pixels = train_split["ids"][:30], train_split["pixels"][:30]
    kept = logits_of(tmp_path, ids, -1)[:, 0]
    answers = load(miniature_run, "TeacherTrainer").predict(pixels, verbose=0)
    for row, answer in zip(kept, answers, strict=True):
        largest = np.argsort(-answer)[:3]
        others = np.setdiff1d(np.arange(10), largest)
        assert_alike(row[largest], answer[largest])
        assert np.ptp(row[others]) == 0
        assert_alike(np.exp(row[others]).sum(), np.exp(answer[others]).sum())
    whole = Path(miniature_run.uris["SoftTargets.soft_targets"])
    sizes = [
        sum(file.stat().st_size for file in directory.glob("*.answers"))
        for directory in (tmp_path, whole)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.slow
def test_top_k_that_is_no_choice_is_refused(miniature_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run_executor(miniature_run, tmp_path, ["TeacherTrainer"], distill=DistillSettings(top_k=10))
    assert str(caught.value) == (
        "distill.top_k must be below the number of classes, 10, got 10; leave it out to keep all "
        "logits"
    )
