"""The configuration: what it accepts, and the sentence that each mistake gets."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from modules.errors import ConfigError
from pipeline.config import PRESETS_DIR, check_local_paths, find_config, load_config

PRESETS = sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))
SECTIONS = "name, seed, data, teacher, student, distill, export, latency, gate, push, runtime"


def minimal() -> dict[str, Any]:
    """A configuration of nothing but what must be set."""
    return {
        "name": "own",
        "data": {},
        "teacher": {"model": "resnet_small"},
        "student": {"model": "cnn_small"},
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
    assert config.data.input_shape == (8, 8, 1)
    assert config.data.eval_fraction >= 0.15
    assert config.gate.min_accuracy == 0.965
    assert config.gate.max_tflite_accuracy_drop == 0.01
    assert config.gate.min_speedup == 1.5
    assert (config.export.tflite, config.push.tflite) == (("float32", "int8"), "int8")


def test_defaults_of_a_minimal_file(file: Path) -> None:
    config = load_config(str(file))
    assert (config.name, config.seed) == ("own", 0)
    assert (config.distill.alpha, config.distill.temperature, config.distill.control) == (
        0.1,
        4.0,
        True,
    )
    assert config.push.destination is None
    assert "--direct_running_mode=in_memory" in config.runtime.beam


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
            "teacher.parameters.widths=[4, 8]",
            "student.train={epochs: 2, batch_size: 16}",
            "gate.min_accuracy=null",
            "gate.min_speedup=1.25",
            "distill.control=false",
        ],
    )
    assert config.distill.temperature == 2.5
    assert config.export.tflite == ("float32",)
    assert config.teacher.parameters == {"widths": [4, 8]}
    assert (config.student.train.epochs, config.student.train.batch_size) == (2, 16)
    assert config.gate.model_dump(exclude_none=True) == {"min_speedup": 1.25}
    assert config.distill.control is False


def test_the_last_override_counts(file: Path) -> None:
    assert load_config(str(file), ["seed=1", "seed=2"]).seed == 2


def test_a_value_may_hold_an_equals_sign(file: Path) -> None:
    config = load_config(str(file), ["runtime.beam=['--a=b']"])
    assert config.runtime.beam == ("--a=b",)


def test_an_override_fills_a_section_that_is_left_empty(file: Path) -> None:
    file.write_text(file.read_text() + "distill:\n")
    assert load_config(str(file), ["distill.alpha=0.5"]).distill.alpha == 0.5


# The message after the file's name, by the override that is wrong.
WRONG_VALUES = {
    "distill.alpha=2": "distill.alpha: input should be less than or equal to 1, got 2",
    "distill.temperature=0": "distill.temperature: input should be greater than 0, got 0",
    "seed=-1": "seed: input should be greater than or equal to 0, got -1",
    "seed=4294967296": "seed: input should be less than 4294967296, got 4294967296",
    "data.eval_fraction=1": "data.eval_fraction: input should be less than 1, got 1",
    "data.channels=2": "data.channels: input should be 1 or 3, got 2",
    "data.source=mnist": "data.source: input should be 'digits' or 'image_folder', got 'mnist'",
    "student.train.epochs=many": (
        "student.train.epochs: input should be a valid integer, unable to parse string as an "
        "integer, got 'many'"
    ),
    "latency.blocks=4": "latency.blocks: input should be greater than or equal to 5, got 4",
    "export.tflite=[float32, int4]": (
        "export.tflite.1: input should be 'float32' or 'int8', got 'int4'"
    ),
    "name=Big Name": (
        "name: string should match pattern '^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$', got 'Big Name'"
    ),
    "data.source=image_folder": (
        "data.path is needed when data.source is image_folder; set it to a directory with one "
        "sub-folder of PNG or JPEG files per class"
    ),
    "data.path=pictures": (
        "data.path is 'pictures' but data.source is digits, which is embedded; set data.source: "
        "image_folder or remove data.path"
    ),
    "gate={}": (
        "gate must set at least one limit, or no student could be judged; set one of "
        "min_accuracy, max_accuracy_drop, max_tflite_accuracy_drop, min_speedup, max_size_bytes"
    ),
    "export.tflite=[int8]": (
        "export.tflite must include float32, on which teacher and student are timed, got "
        "['int8']; add float32"
    ),
    "export.tflite=[float32]": (
        "push.tflite must be one of export.tflite ['float32'], got 'int8'; add it to "
        "export.tflite or push another"
    ),
}


@pytest.mark.parametrize("override", WRONG_VALUES)
def test_wrong_value(file: Path, override: str) -> None:
    assert error_of(file, override) == f"{file}: {WRONG_VALUES[override]}"


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
            "temperature, control",
        ),
        (
            "student.train.learning_rat=1",
            "student.train.learning_rat: no such key; did you mean 'learning_rate'?; keys here: "
            "epochs, batch_size, learning_rate, schedule, weight_decay, patience",
        ),
        (
            "data.zzz=1",
            "data.zzz: no such key; keys here: source, path, image_size, channels, "
            "eval_fraction, validation_fraction, split_seed",
        ),
    ],
)
def test_unknown_key_names_its_neighbours(file: Path, override: str, message: str) -> None:
    assert error_of(file, override) == f"{file}: {message}"


@pytest.mark.parametrize("key", ["name", "data", "teacher", "student", "gate"])
def test_missing_section(file: Path, key: str) -> None:
    content = minimal()
    del content[key]
    file.write_text(yaml.safe_dump(content))
    assert error_of(file) == f"{file}: {key}: must be set"


def test_each_problem_has_its_line(file: Path) -> None:
    message = error_of(file, "distill.alpha=2", "distill.temperature=0", "data.zzz=1", "name=")
    assert [line.split(": ")[1] for line in message.splitlines()] == [
        "name",
        "data.zzz",
        "distill.alpha",
        "distill.temperature",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "student.model=cnn_smal",
            "student.model must be one of cnn_small, cnn_tutorial, resnet50, resnet_small or "
            "package.module:function, got 'cnn_smal'; did you mean 'cnn_small'?",
        ),
        (
            "teacher.parameters={width: [8]}",
            "teacher.parameters: resnet_small takes widths, blocks, dropout, got 'width'; did you "
            "mean 'widths'?",
        ),
    ],
)
def test_unknown_model_or_parameter(file: Path, override: str, message: str) -> None:
    assert error_of(file, override) == message


def test_the_users_own_builder_is_not_imported_yet(file: Path) -> None:
    config = load_config(str(file), ["student.model=there.is.none:such", "student.parameters.x=1"])
    assert config.student.model == "there.is.none:such"


@pytest.mark.parametrize("override", ["distill.alpha", "=1", "distill..alpha=1", ".alpha=1", ""])
def test_override_without_key_and_value(file: Path, override: str) -> None:
    assert error_of(file, override) == (
        f"--set needs KEY=VALUE with a dotted key, got {override!r}; "
        "for example --set distill.temperature=4"
    )


def test_override_into_a_value(file: Path) -> None:
    expected = "--set name.first: 'name' is a value, not a section with keys"
    assert error_of(file, "name.first=x") == expected


def test_override_that_is_not_yaml(file: Path) -> None:
    expected = "--set data.path: the value '[1' is not YAML; quote it"
    assert error_of(file, "data.path=[1") == expected


def test_broken_yaml_is_one_line_with_its_place(file: Path) -> None:
    file.write_text("name: [digits\n")
    message = error_of(file)
    assert message.startswith(f"{file}: not readable as YAML: ")
    assert "line 2, column 1" in message
    assert "\n" not in message


def test_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00name")
    assert error_of(file).startswith(f"{file}: not readable as YAML: ")


@pytest.mark.parametrize("content", ["- name\n", "digits\n", ""])
def test_not_a_mapping(file: Path, content: str) -> None:
    file.write_text(content)
    assert error_of(file) == f"{file}: must be a YAML mapping such as `name: digits`"


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


def test_data_path_must_exist_where_the_run_is(file: Path, tmp_path: Path) -> None:
    here = load_config(str(file), ["data.source=image_folder", f"data.path={tmp_path}"])
    check_local_paths(here)
    check_local_paths(load_config(str(file)))
    check_local_paths(load_config(str(file), ["data={source: image_folder, path: 'gs://b/x'}"]))
    missing = tmp_path / "none"
    with pytest.raises(ConfigError) as caught:
        check_local_paths(
            load_config(str(file), [f"data={{source: image_folder, path: {missing}}}"])
        )
    assert str(caught.value) == (
        f"data.path must be an existing directory, but {str(missing)!r} is none; set it to a "
        "directory with one sub-folder of PNG or JPEG files per class"
    )


def test_validation_imports_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.config as config\n"
        "config.load_config('digits', ['distill.alpha=0.5'])\n"
        "heavy = {'tensorflow', 'keras', 'tfx', 'apache_beam', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
