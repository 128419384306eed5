"""The configuration: what it accepts, and the sentence that each mistake gets."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from modules.distill import methods
from modules.errors import ConfigError
from modules.settings import DataSettings, TeacherSettings, TrainSettings
from pipeline.config import PRESETS_DIR, check_local_paths, find_config, load_config

PRESETS = sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))
SECTIONS = (
    "name, seed, task, data, augment, teacher, more_teachers, student, distill, search, export, "
    "evaluate, latency, gate, push, runtime"
)
METHODS = ", ".join(methods.METHODS)
LAYERS = "student_layer: block1, teacher_layer: stage1_block1"
MODELS = (
    "cnn_tutorial, image_linear, keras_application, keras_hub_backbone, mixture, mlp, "
    "random_forest, resnet50, resnet_small, resnet_tabular, separable_cnn, text_cnn, text_linear, "
    "text_transformer"
)
IMAGES = "source: image_folder, features: {image: {kind: image, size: 8}}"


def minimal() -> dict[str, Any]:
    """A configuration of nothing but what must be set."""
    return {
        "name": "own",
        "data": {},
        "teacher": {"model": "resnet_small"},
        "student": {"model": "separable_cnn"},
        "gate": {"min_accuracy": 0.9},
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(minimal()))
    return path


def error_of(file: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(str(file), overrides)
    return str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_named_as_its_file(preset: str) -> None:
    assert load_config(preset).name == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_is_and_how_to_run_it(preset: str) -> None:
    header = [
        line
        for line in (PRESETS_DIR / f"{preset}.yaml").read_text().splitlines()
        if line.startswith("#")
    ]
    assert header[0].startswith(f"# {preset}: ")
    assert any(f"tfx-distill run {preset}" in line for line in header)


def test_preset_digits_asks_for_what_the_project_promises() -> None:
    config = load_config("digits")
    assert config.data.source == "digits"
    assert config.data.features["image"].shape == (8, 8, 1)
    assert config.data.eval_fraction >= 0.15
    # Held against the lower bound of an interval, so below what the student is to reach.
    assert config.gate.min_accuracy == 0.8
    assert config.gate.min_distillation_gain == 0.01
    assert config.data.max_labels == 100
    assert config.gate.max_tflite_accuracy_drop == 0.02
    assert config.gate.min_speedup == 1.5
    assert set(config.export.tflite) == {"float32", "float16", "dynamic_range", "int8"}
    assert config.push.tflite == "smallest"


def test_defaults_of_a_minimal_file(file: Path) -> None:
    config = load_config(str(file))
    assert (config.name, config.seed) == ("own", 0)
    assert (config.distill.alpha, config.distill.temperature, config.distill.control) == (
        0.1,
        4.0,
        True,
    )
    assert [method.name for method in config.distill.methods] == ["soft_target"]
    assert (config.distill.soft_targets, config.distill.views, config.distill.top_k) == (
        "cached",
        1,
        None,
    )
    assert (config.distill.generations, config.more_teachers) == (1, ())
    assert not config.augment.active
    assert config.runtime.strategy == "auto"
    assert config.push.destination is None
    assert (config.runtime.beam, config.runtime.resources) == ({}, {})


def test_a_configuration_does_not_change(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config(str(file)).seed = 1  # type: ignore[misc]


def test_overrides_of_nested_keys_and_lists(file: Path) -> None:
    config = load_config(
        str(file),
        [
            "distill.temperature=2.5",
            "export.tflite=[float32]",
            "push.tflite=float32",
            "evaluate.slices=[class_name, [class_name, label]]",
            "teacher.parameters.widths=[4, 8]",
            "student.train={epochs: 2, batch_size: 16}",
            "gate.min_accuracy=null",
            "gate.min_speedup=1.25",
            "distill.control=false",
        ],
    )
    assert config.distill.temperature == 2.5
    assert config.export.tflite == config.push.tflite == ("float32",)
    assert config.evaluate.slices == (("class_name",), ("class_name", "label"))
    assert config.teacher.parameters == {"widths": [4, 8]}
    assert (config.student.train.epochs, config.student.train.batch_size) == (2, 16)
    assert config.gate.model_dump(exclude_defaults=True) == {"min_speedup": 1.25}
    assert config.distill.control is False


def test_the_last_override_counts(file: Path) -> None:
    assert load_config(str(file), ["seed=1", "seed=2"]).seed == 2


def test_a_value_may_hold_an_equals_sign(file: Path) -> None:
    config = load_config(str(file), ["runtime.beam.vertex.options=['--a=b']"])
    assert config.runtime.beam["vertex"].options == ("--a=b",)


def test_an_override_fills_a_section_that_is_left_empty(file: Path) -> None:
    file.write_text(file.read_text() + "distill:\n")
    assert load_config(str(file), ["distill.alpha=0.5"]).distill.alpha == 0.5


# What is said of a wrong override.
WRONG_VALUES = {
    "distill.alpha=2": "distill.alpha: must be a number from 0 to 1, got 2",
    "distill.alpha=-0.1": "distill.alpha: must be a number from 0 to 1, got -0.1",
    "distill.alpha=.nan": "distill.alpha: must be a number from 0 to 1, got nan",
    "distill.top_k=0": "distill.top_k: must be a whole number from 1 to 100,000, got 0",
    "distill.generations=0": "distill.generations: must be a whole number from 1 to 100, got 0",
    "distill.soft_targets=offline": (
        "distill.soft_targets: must be 'cached' or 'online', got 'offline'"
    ),
    "distill.views=2": (
        "distill.views must be 1 without augment, since all views of an example are then the "
        "same, got 2; set augment or remove distill.views"
    ),
    "augment.mixup=0.7": "augment.mixup: must be a number from 0 to 0.5, got 0.7",
    "augment.mixup=0.2": (
        "distill.soft_targets must be online with augment.mixup, whose images depend on their "
        "neighbors in the batch; set distill.soft_targets: online"
    ),
    "more_teachers=[{model: separable_cnn, weight: 0}]": (
        "more_teachers.0.weight: must be a number above 0 and at most 1,000,000, got 0"
    ),
    "student.weight=2": ("student.weight: no such key; keys here: model, parameters, train"),
    "runtime.strategy=tpu": (
        "runtime.strategy: must be 'auto', 'mirrored' or 'multi_worker', got 'tpu'"
    ),
    "seed=-1": "seed: must be a whole number from 0 to 4,294,967,295, got -1",
    "data.eval_fraction=1": "data.eval_fraction: must be a number above 0 and below 1, got 1",
    "data.features.image={kind: image, size: 8, channels: 2}": (
        "data.features.image.channels: must be 1 or 3, got 2"
    ),
    "data.features.image.channels=1": (
        "data.features.image.kind: must be set to one of image, numeric, category, text"
    ),
    "data.source=mnist": (
        "data.source must be one of digits, image_folder, csv, parquet, tfrecord, examples, "
        "bigquery, got 'mnist'"
    ),
    "student.train.epochs=many": (
        "student.train.epochs: must be a whole number from 0 to 1,000,000, got 'many'"
    ),
    "latency.blocks=1": "latency.blocks: must be a whole number from 2 to 10,000, got 1",
    "export.tflite=[float32, int4]": (
        "export.tflite.1: must be 'float32', 'float16', 'dynamic_range' or 'int8', got 'int4'"
    ),
    "name=Big Name": (
        "name: must have only a-z, 0-9, - and _, and a letter or digit at either end, got "
        "'Big Name'"
    ),
    "data.source=image_folder": (
        "data.path must be set when data.source is image_folder; set it to a directory with one "
        "sub-folder of image files per class"
    ),
    "data.path=pictures": (
        "data.path must not be set when data.source is digits, got 'pictures'; set "
        "another data.source or remove data.path"
    ),
    "gate={}": (
        "gate: must set at least one limit, or no student could be judged; set one of "
        "min_accuracy, max_accuracy_drop, max_tflite_accuracy_drop, min_roc_auc, max_roc_auc_drop, "
        "max_rmse, max_rmse_increase, max_tflite_rmse_increase, min_speedup, "
        "min_distillation_gain, max_size_bytes, limits"
    ),
    "export.tflite=[int8]": (
        "export.tflite: must include float32, on which teacher and student are timed, got "
        "['int8']; add float32"
    ),
    "export={tflite: [float32], quantization: aware}": (
        "export.quantization: must be post when export.tflite has no int8, got aware with "
        "['float32']; add int8 to export.tflite"
    ),
    "push.tflite=[float32, float16]": (
        "push.tflite must be among export.tflite ['float32', 'int8'], got ['float32', 'float16']; "
        "add float16 to export.tflite"
    ),
    "push.tflite=[int8, int8]": (
        "push.tflite: must be smallest, fastest or a list of float32, float16, dynamic_range, "
        "int8, each at most once, got ['int8', 'int8']"
    ),
    "push.destination=' '": (
        "push.destination: must be a directory or a URL, got an empty string; remove the key to "
        "push to pushed/ in the output directory"
    ),
    "export.tflite=[float32, int8, int8]": (
        "export.tflite: must name each variant once, got ['float32', 'int8', 'int8']; remove the "
        "repeated ones"
    ),
    "evaluate.slices=[[a, a]]": (
        "evaluate.slices: must list names of features, each once, got [['a', 'a']]; for example "
        "[[class_name]]"
    ),
    "gate.limits=[{number: student.ece}]": (
        "gate.limits.0: the limit of student.ece must set min, max or both"
    ),
    "gate.limits=[{number: student.ece, min: 2, max: 1}]": (
        "gate.limits.0.max: must not be below min, 2, got 1"
    ),
    "gate.limits=[{number: student.ece, max: 1, relative: true}]": (
        "gate.limits.0.relative: needs against, the model whose number divides; set against"
    ),
}


@pytest.mark.parametrize("override", WRONG_VALUES)
def test_wrong_value(file: Path, override: str) -> None:
    assert error_of(file, override) == f"--set {override}: {WRONG_VALUES[override]}"


def test_mixup_leaves_decoupled_no_label_to_go_by(file: Path) -> None:
    overrides = ["augment.mixup=0.2", "distill.soft_targets=online"]
    assert load_config(str(file), overrides).augment.mixup == 0.2
    assert error_of(file, *overrides, "distill.methods=[{name: decoupled}]") == (
        "--set distill.methods=[{name: decoupled}]: augment.mixup must be 0 with the method "
        "decoupled, which needs one label per example, got 0.2; remove one of the two"
    )


def test_views_are_of_augmented_images(file: Path) -> None:
    assert load_config(str(file), ["distill.views=3", "augment.flip=true"]).distill.views == 3


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "name: soft_taget",
            f"distill.methods.0.name must be one of {METHODS}, got 'soft_taget'; did you mean "
            "'soft_target'?",
        ),
        ("name: zzz", f"distill.methods.0.name must be one of {METHODS}, got 'zzz'"),
        (
            f"name: hint, {LAYERS}",
            "distill.soft_targets must be online for hint, which compares features: only logits "
            "are cached; set distill.soft_targets: online",
        ),
        (
            f"name: relational_angle, {LAYERS}",
            "distill.soft_targets must be online for relational_angle, which compares features: "
            "only logits are cached; set distill.soft_targets: online",
        ),
        (
            "name: hint, student_layer: block1",  # and the logits are cached
            "distill.methods.0: hint compares features and needs student_layer and teacher_layer, "
            "the names of layers",
        ),
        (
            f"name: soft_target, {LAYERS}",
            "distill.methods.0: soft_target compares logits; student_layer and teacher_layer "
            "belong to hint, attention_transfer, similarity_preserving, relational_distance, "
            "relational_angle",
        ),
        (
            "name: decoupled, target_wight: 2",
            "distill.methods.0.target_wight: decoupled has no such setting; did you mean "
            "'target_weight'?; it has name, weight, warmup_epochs, temperature, "
            "final_temperature, student_layer, teacher_layer, target_weight, non_target_weight",
        ),
        (
            "name: decoupled, target_weight: -2",
            "distill.methods.0.target_weight must be a number from 0 to 1,000,000, got -2",
        ),
    ],
)
def test_wrong_method(file: Path, method: str, message: str) -> None:
    override = f"distill.methods=[{{{method}}}]"
    assert error_of(file, override).splitlines()[0] == f"--set {override}: {message}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("temperature: 0", "temperature: must be a number above 0 and at most 1,000, got 0"),
        ("weight: -1", "weight: must be a number from 0 to 1,000,000, got -1"),
    ],
)
def test_bounds_of_a_methods_settings(file: Path, setting: str, message: str) -> None:
    override = f"distill.methods=[{{name: soft_target, {setting}}}]"
    assert error_of(file, override) == f"--set {override}: distill.methods.0.{message}"


def test_methods_must_not_be_none_at_all(file: Path) -> None:
    wanted = "--set distill.methods=[]: distill.methods must name at least one method, got none"
    assert error_of(file, "distill.methods=[]").startswith(wanted)


def test_methods_with_their_settings(file: Path) -> None:
    hint = f"{{name: hint, weight: 2, {LAYERS}}}"
    decoupled = "{name: decoupled, non_target_weight: 4, temperature: 2, warmup_epochs: 5}"
    config = load_config(
        str(file), [f"distill.methods=[{hint}, {decoupled}]", "distill.soft_targets=online"]
    )
    first, second = config.distill.methods
    assert (first.name, first.weight, first.student_layer) == ("hint", 2.0, "block1")
    assert (second.temperature, second.warmup_epochs) == (2.0, 5)
    assert second.model_extra == {"non_target_weight": 4}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "distil.alpha=1",
            f"distil: no such key; did you mean 'distill'?; keys here: {SECTIONS}",
        ),
        (
            "distill.temprature=1",
            "distill.temprature: no such key; did you mean 'temperature'?; keys here: alpha, "
            "temperature, methods, auto, soft_targets, views, top_k, assistants, generations, "
            "control",
        ),
        (
            "student.train.learning_rat=1",
            "student.train.learning_rat: no such key; did you mean 'learning_rate'?; keys here: "
            + ", ".join(TrainSettings.model_fields),
        ),
        (
            "data.zzz=1",
            f"data.zzz: no such key; keys here: {', '.join(DataSettings.model_fields)}",
        ),
        (
            "more_teachers=[{model: separable_cnn}, {model: separable_cnn, trian: {}}]",
            "more_teachers.1.trian: no such key; did you mean 'train'?; keys here: "
            + ", ".join(TeacherSettings.model_fields),
        ),
        (
            "more_teachers=[{model: separable_cnn, train: {epoch: 3}}]",
            "more_teachers.0.train.epoch: no such key; did you mean 'epochs'?; keys here: "
            + ", ".join(TrainSettings.model_fields),
        ),
    ],
)
def test_unknown_key_has_a_suggestion(file: Path, override: str, message: str) -> None:
    assert error_of(file, override) == f"--set {override}: {message}"


@pytest.mark.parametrize("key", ["name", "data", "teacher", "student", "gate"])
def test_missing_section(file: Path, key: str) -> None:
    content = minimal()
    del content[key]
    file.write_text(yaml.safe_dump(content))
    assert error_of(file).startswith(f"{file}: {key}: must be set")
    assert "\n" not in error_of(file)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "student.model=separable_cn",
            f"student.model must be one of {MODELS} or package.module:function, got "
            "'separable_cn'; did you mean 'separable_cnn'?",
        ),
        (
            "more_teachers=[{model: resnet_smal}]",
            f"more_teachers.0.model must be one of {MODELS} or package.module:function, got "
            "'resnet_smal'; did you mean 'resnet_small'?",
        ),
        (
            "distill.assistants=[{model: separable_cnn}, {model: resnet_smal}]",
            f"distill.assistants.1.model must be one of {MODELS} or package.module:function, got "
            "'resnet_smal'; did you mean 'resnet_small'?",
        ),
        (
            "more_teachers=[{model: mlp}, {model: separable_cnn, parameters: {filter: [2]}}]",
            "more_teachers.1.parameters: separable_cnn takes filters, blocks, dropout, got "
            "'filter'; did you mean 'filters'?",
        ),
        (
            "teacher.parameters={width: [8]}",
            "teacher.parameters: resnet_small takes widths, blocks, dropout, got 'width'; did you "
            "mean 'widths'?",
        ),
    ],
)
def test_unknown_model_or_parameter(file: Path, override: str, message: str) -> None:
    assert error_of(file, override) == f"--set {override}: {message}"


def test_the_users_own_builder_is_not_imported_yet(file: Path) -> None:
    config = load_config(str(file), ["student.model=there.is.none:such", "student.parameters.x=1"])
    assert config.student.model == "there.is.none:such"


SEVERAL = """\
name: Own
data: {source: image_folder, features: {image: {kind: image, size: 8, channels: 2}}}
teacher: {model: resnet_smal}
student:
  model: separable_cnn
  train: {epochs: many}
distill:
  alpha: 2
  temprature: 3
  methods: [{name: soft_taget}, {name: decoupled, target_weight: -1}]
augment: {mixup: 0.2}
export: {tflite: [float32]}
push: {tflite: [int8], keep: 1}
gate:
  limits: [{number: student.acuracy, min: 0.9}]
  limits: [{number: student.accuracy, max: 1, min: 2}]
"""


def test_all_mistakes_are_told_at_once_each_with_where_it_comes_from(file: Path) -> None:
    """Of one file, with checks of pydantic's kind, ours, and those between sections."""
    file.write_text(SEVERAL)
    overrides = ("seed=-1", "distil.alpha=1", "latency", "student.parameters.filter=[3]")
    places = [line.partition(" must")[0] for line in error_of(file, *overrides).splitlines()]
    assert [place.partition("; did you")[0] for place in places] == [
        f"{file}: limits:",
        "--set latency:",
        f"{file}: name:",
        "--set seed=-1: seed:",
        f"{file}: data.features.image.channels:",
        f"{file}: student.train.epochs:",
        f"{file}: distill.alpha:",
        f"{file}: distill.temprature: no such key",
        f"{file}: gate.limits.0.max:",
        f"{file}: push.keep:",
        "--set distil.alpha=1: distil: no such key",
        f"{file}: data.path",
        f"{file}: distill.soft_targets",
        f"{file}: augment.mixup",
        f"{file}: push.tflite",
        f"{file}: teacher.model",
        "--set student.parameters.filter=[3]: student.parameters: separable_cnn takes filters, "
        "blocks, dropout, got 'filter'",
        f"{file}: distill.methods.0.name",
        f"{file}: distill.methods.1.target_weight",
    ]


def test_what_an_override_puts_right_is_not_told(file: Path) -> None:
    file.write_text(file.read_text() + "distill: {alpha: 2, temperature: 0}\n")
    overrides = ["distill.alpha=0.5", "seed=-1", "seed=1"]
    assert error_of(file, *overrides) == (
        f"{file}: distill.temperature: must be a number above 0 and at most 1,000, got 0"
    )


def test_a_check_that_a_mistake_makes_a_guess_is_left_out(file: Path) -> None:
    """Whether views need augment cannot be said while augment is wrong."""
    assert error_of(file, "augment.flip=maybe", "distill.views=2").count("\n") == 0
    assert error_of(file, "augment.flip=false", "distill.views=2").startswith(
        "--set distill.views=2: distill.views must be 1"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=digits", "data: must be a section with keys (source, path, "),
        ("data=", "data: must be a section with keys (source, path, "),
        ("search=[1]", "search: must be a section with keys (students, "),
        ("search.budjet={}", "search.budjet: no such key; did you mean 'budget'?; keys here: stu"),
        ("search.students=[]", "search.students: must list at least one student, got none"),
        ("distill.methods=soft_target", "distill.methods: must be a list, got 'soft_target'"),
        ("distill.methods=[dist]", "distill.methods.0: must be a section with keys (name, "),
        ("evaluate.slices=[3]", "evaluate.slices.0: must be a list, got 3"),
        ("push.tflite=int4", "push.tflite: must be smallest, fastest or a list of float32, "),
        ("push.tflite={a: 1}", "push.tflite: must be smallest, fastest or a list of float32, "),
        ("push.vertex={project: p, regon: r}", "push.vertex.region: must be set"),
        ("runtime.resources.trainr.cpu=2", "runtime.resources.trainr: no such key; did you mean "),
        ("runtime.beam.local.workers=2", "runtime.beam.local.workers: must be 1 with the runner "),
        (
            "student.parameters={1: 2}",
            "student.parameters.1: a key must be a string, got 1; quote ",
        ),
        ("student.train={1: 2}", "student.train.1: a key must be a string, got 1; quote it"),
        ("nothing.of.this=1", "nothing: no such key; keys here: name, seed"),
        ("data.path.deeper=1", "data.path: must be a text, got {'deeper': 1}"),
    ],
)
def test_mistakes_of_structure(file: Path, override: str, message: str) -> None:
    assert error_of(file, override).startswith(f"--set {override}: {message}")


@pytest.mark.parametrize("override", ["distill.alpha", "=1", "distill..alpha=1", ".alpha=1", ""])
def test_override_without_key_and_value(file: Path, override: str) -> None:
    assert error_of(file, override) == (
        f"--set {override}: must be KEY=VALUE with a dotted key; "
        "for example --set distill.temperature=4"
    )


def test_override_into_a_value_or_a_list(file: Path) -> None:
    assert error_of(file, "name.first=x") == (
        "--set name.first=x: name is a value, not a section with keys; set name as a whole"
    )
    methods = "distill.methods=[{name: dist}]"
    assert error_of(file, methods, "distill.methods.0.weight=2") == (
        "--set distill.methods.0.weight=2: distill.methods is a list, not a section with keys; "
        "set distill.methods as a whole"
    )


def test_override_that_is_not_yaml(file: Path) -> None:
    message = error_of(file, "data.path=[1")
    assert message.startswith("--set data.path=[1: line 1, column 3: not valid YAML: ")
    assert "\n" not in message


def test_key_that_is_set_twice(file: Path) -> None:
    file.write_text(file.read_text() + "name: other\n")
    override = "student={model: separable_cnn, model: separable_cnn}"
    assert error_of(file, override).splitlines() == [
        f"{file}: name: must be set once, but is set in line 4 and again in line 9; remove one",
        f"--set {override}: model: must be set once, but is set in line 1 and again in line 1; "
        "remove one",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [digits\n", "line 2, column 1: not valid YAML: expected ',' or ']', "),
        (b"name: a\n\tb: c\n", "line 2, column 1: not valid YAML: found character '\\t' "),
        (b"name: \x01", "not valid YAML: unacceptable character #x0001"),
        (b"name: " + b"[" * 5000, "not valid YAML: maximum recursion depth exceeded"),
        (b"\xff\xfe\x00name", "must be UTF-8 text, but byte 0 is not; save it as UTF-8"),
        (b"", "must be a YAML mapping such as `name: digits`, but it is empty"),
        (b"# nothing\n", "must be a YAML mapping such as `name: digits`, but it is empty"),
        (b"- name\n", "must be a YAML mapping such as `name: digits`, but it is a list"),
        (b"digits\n", "must be a YAML mapping such as `name: digits`, but it is a str"),
    ],
)
def test_file_without_a_configuration(file: Path, content: bytes, message: str) -> None:
    """Its overrides are looked at all the same."""
    file.write_bytes(content)
    first, second = error_of(file, "seed").splitlines()
    assert first.startswith(f"{file}: {message}")
    assert second.startswith("--set seed: must be KEY=VALUE")


def test_directory_instead_of_a_file(tmp_path: Path) -> None:
    wanted = f"{tmp_path}: must be a YAML file, but it is a directory; name a file in it"
    assert error_of(tmp_path) == wanted


def test_unknown_preset_has_a_suggestion() -> None:
    assert error_of("digit") == (
        f"'digit' is neither a preset ({', '.join(PRESETS)}) nor a file; did you mean 'digits'?"
    )


def test_a_preset_wins_over_a_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("name: other\n")
    assert find_config("digits") == PRESETS_DIR / "digits.yaml"


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [*a]\n",
        "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
            for old, new in itertools.pairwise("abcdefghi")
        ),
    ],
    ids=["itself", "exponential"],
)
def test_aliases_that_explode_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(content)
    assert error_of(file) == (
        f"{file}: not valid YAML: its aliases stand for more than 100,000 values; fix or quote it"
    )


def test_an_override_changes_one_of_the_places_that_share_an_alias(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    content = [
        "name: tiny",
        "data: {source: digits}",
        "teacher: &teacher {model: mlp, train: {epochs: 3}}",
        "more_teachers: [*teacher]",
        "student: {model: mlp}",
        "gate: {min_accuracy: 0.9}",
    ]
    file.write_text("\n".join(content))
    config = load_config(str(file), ["teacher.train.epochs=5"])
    assert [each.train.epochs for each in config.teachers] == [5, 3]


def test_data_path_must_exist_where_the_run_is(file: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").touch()
    check_local_paths(load_config(str(file), [f"data={{{IMAGES}, path: {tmp_path / 'images'}}}"]))
    check_local_paths(load_config(str(file)))
    check_local_paths(load_config(str(file), [f"data={{{IMAGES}, path: 'gs://b/x'}}"]))
    missing = tmp_path / "none"
    with pytest.raises(ConfigError) as caught:
        check_local_paths(load_config(str(file), [f"data={{{IMAGES}, path: {missing}}}"]))
    assert str(caught.value) == (
        f"data.path must be an existing directory, got {str(missing)!r}; set it to a directory "
        "with one sub-folder of image files per class"
    )


def test_validation_imports_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.config as config\n"
        "config.load_config('digits', ['push.destination=s3://bucket/models'])\n"
        "heavy = {'tensorflow', 'keras', 'tfx', 'apache_beam', 'numpy', 'fsspec'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_weights_of_classes_are_no_booleans(file: Path) -> None:
    """YAML reads `yes` as true, which would count as 1."""
    override = "data.class_weights={a: yes}"
    wanted = (
        f"--set {override}: data.class_weights.a: must be a number above 0 and at most 1,000,000, "
        "got True"
    )
    assert error_of(file, override) == wanted
