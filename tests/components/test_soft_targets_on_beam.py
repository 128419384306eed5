"""SoftTargets on Beam: the artifact is that of the node's own process, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from example_files import write_examples
from image_data import image_spec
from small_models import build
from tfx import types
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec, ExecutorClassSpec
from tfx.types import standard_artifacts

from components.artifacts import TeacherAnswers, TeacherLogits
from components.soft_targets.beam_executor import BeamExecutor
from components.soft_targets.component import SoftTargets
from components.soft_targets.executor import Executor
from modules.data.spec import SPEC_FILE, write_json
from modules.data.splits import example_id
from modules.errors import ConfigError, DataError
from modules.models import storage
from modules.models.known import KnownModel
from modules.settings import AugmentSettings, DataSettings, DistillSettings, ModelSettings
from modules.teachers.answer_store import AnswerStore
from modules.teachers.cache import SoftTargetCache
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline

# More than a batch in each of three files.
COUNT, SPEC = 900, image_spec()
FLIP = AugmentSettings(flip=True, pad_crop=1)
SETTINGS = ModelSettings(model="separable_cnn", parameters={"filters": [4, 8]})


@dataclass
class Inputs:
    """Artifacts: examples of two splits, and teachers by what `run` calls them."""

    examples: Any
    graph: Any
    teachers: dict[str, Any]


def _artifact(kind: type[types.Artifact], directory: Path) -> Any:
    made = kind()
    made.uri = str(directory)
    return made


def _model(directory: Path, seed: int, astray: bool = False) -> Any:
    keras.utils.set_random_seed(seed)
    model = build(SETTINGS.model, **SETTINGS.parameters)
    if astray:
        model.set_weights([np.full_like(each, np.nan) for each in model.get_weights()])
    inputs = {each.name: each for each in SPEC.inputs}
    storage.save_model(model, SETTINGS, inputs, SPEC.output, str(directory / "Format-Keras"))
    return _artifact(standard_artifacts.Model, directory)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, 8, 8, 1), dtype=np.uint8)
    numbers, half = np.arange(COUNT), COUNT - 100
    for split, part, files in (
        ("train", slice(None, half), 2),
        ("unlabeled", slice(half, None), 1),
    ):
        write_examples(
            root / f"Split-{split}", pixels[part], numbers[part] % 10, numbers[part], files=files
        )
    examples = _artifact(standard_artifacts.Examples, root)
    examples.split_names = '["train", "unlabeled"]'
    write_json(SPEC, str(root), SPEC_FILE)
    (root / "answers").mkdir()
    store = AnswerStore(str(root / "answers"))
    store.add(
        [example_id(b"%d" % number) for number in numbers],
        rng.normal(size=(COUNT, 10)).astype(np.float32),
    )
    store.describe({})
    return Inputs(
        examples,
        _artifact(standard_artifacts.TransformGraph, root),
        {
            "first": _model(root / "first", 0),
            "second": _model(root / "second", 1),
            "astray": _model(root / "astray", 2, astray=True),
            "answers": _artifact(TeacherAnswers, root / "answers"),
        },
    )


def run(executor: Any, inputs: Inputs, teachers: list[str], output: Path, **request: Any) -> Path:
    """Runs an executor; returns the artifact's directory."""
    artifacts = [inputs.teachers[name] for name in teachers]
    component = SoftTargets(
        examples=types.Channel(type=standard_artifacts.Examples),
        transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
        teachers=[types.Channel(type=type(each)) for each in artifacts],
        models=[
            None if isinstance(each, TeacherAnswers) else KnownModel.of(SETTINGS)
            for each in artifacts
        ],
        distill=DistillSettings(**request),
        augment=FLIP if "views" in request else AugmentSettings(),
        data=DataSettings(),
        seed=5,
        code_digest="abc",
    )
    taught_by = [key for key in component.inputs if key not in ("examples", "transform_graph")]
    executor.Do(
        {
            "examples": [inputs.examples],
            "transform_graph": [inputs.graph],
            **dict(zip(taught_by, ([each] for each in artifacts), strict=True)),
        },
        {"soft_targets": [_artifact(TeacherLogits, output)]},
        component.exec_properties,
    )
    return output


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("teachers", "request_"),
    [
        (["first", "second"], {"views": 2}),
        (["first"], {"top_k": 3}),
        (["second", "answers"], {}),
        (["answers"], {}),
    ],
    ids=["views", "top_k", "model and answers", "answers"],
)
def test_the_artifact_is_the_same_to_the_byte(
    teachers: list[str],
    request_: dict[str, Any],
    inputs: Inputs,
    beam_executor: Callable[[type], Any],
    tmp_path: Path,
) -> None:
    expected = run(Executor(), inputs, teachers, tmp_path / "alone", **request_)
    made = run(beam_executor(BeamExecutor), inputs, teachers, tmp_path / "beam", **request_)
    assert contents(made) == contents(expected)
    # The manifest, and an answer to every example of three files.
    assert len(contents(made)) == 4
    records = list(SoftTargetCache(str(made)).records().as_numpy_iterator())
    assert [each[:64] for each in records] == [example_id(b"%d" % n) for n in range(COUNT)]


def test_a_worker_loads_the_teachers_once(
    inputs: Inputs, beam_executor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], storage.load_model

    def counted(directory: str, known: KnownModel) -> Any:
        loaded.append(directory)
        return load(directory, known)

    monkeypatch.setattr(storage, "load_model", counted)
    run(beam_executor(BeamExecutor), inputs, ["first"], tmp_path / "beam")
    assert len(loaded) == 1


def test_a_teacher_gone_astray_is_one_line(
    inputs: Inputs, beam_executor: Any, tmp_path: Path
) -> None:
    # Nothing of Beam's before or behind it.
    whole = r"^a teacher answers values that are not finite .*train it with a lower learning rate$"
    with pytest.raises(DataError, match=whole) as caught:
        run(beam_executor(BeamExecutor), inputs, ["first", "astray"], tmp_path / "beam")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no readable description"):
        SoftTargetCache(str(tmp_path / "beam"))


def test_top_k_is_refused_before_anybody_is_asked(
    inputs: Inputs, beam_executor: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="below the number of classes, 10, got 10; "):
        run(beam_executor(BeamExecutor), inputs, ["first"], tmp_path / "beam", top_k=10)
    assert not (tmp_path / "beam").exists()


def test_what_a_killed_worker_left_is_removed(
    inputs: Inputs, beam_executor: Any, tmp_path: Path
) -> None:
    output = tmp_path / "beam"
    output.mkdir()
    (output / "Split-train-part-00000.gz.answers.unfinished-1").write_bytes(b"half")
    run(beam_executor(BeamExecutor), inputs, ["first"], output)
    assert len(contents(output)) == 4


@pytest.mark.parametrize(("on_beam", "executor"), [(False, Executor), (True, BeamExecutor)])
def test_the_place_says_who_asks_the_teachers(on_beam: bool, executor: type) -> None:
    places = Places("/root", "/pushed", beam_arguments=["--x=1"], beam_soft_targets=on_beam)
    nodes = {each.id: each for each in create_pipeline(load_config("digits"), places).components}
    spec = nodes["SoftTargets"].executor_spec
    assert spec.executor_class is executor
    assert type(spec) is (BeamExecutorSpec if on_beam else ExecutorClassSpec)
    # Only then it is told which runner there is.
    assert getattr(spec, "beam_pipeline_args", []) == (["--x=1"] if on_beam else [])
