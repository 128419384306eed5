"""Resources by role, Beam by place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from modules.errors import ConfigError
from modules.settings import ResourceSettings, RuntimeSettings
from pipeline.config import load_config


def test_a_role_inherits_what_it_does_not_set() -> None:
    runtime = RuntimeSettings.model_validate(
        {
            "resources": {
                "default": {"cpu": 2, "memory": "4Gi", "retries": 0, "timeout_minutes": 5},
                "trainer": {"memory": "16Gi", "timeout_minutes": None},
            }
        }
    )
    assert runtime.resources_of("trainer") == ResourceSettings(cpu=2, memory="16Gi", retries=0)
    assert runtime.resources_of("evaluator") == runtime.resources["default"]
    assert RuntimeSettings().resources_of("trainer") == ResourceSettings()


def test_inheritance_survives_the_way_through_json() -> None:
    """What was not set must not come back as if it had been."""
    config = load_config("digits", ["runtime.resources={default: {cpu: 2}, trainer: {spot: true}}"])
    sent = config.model_dump_json(exclude_unset=True)
    again = type(config).model_validate_json(sent).runtime
    assert again.resources_of("trainer") == ResourceSettings(cpu=2, spot=True)


@pytest.mark.parametrize("memory", ["16Gi", "512Mi", "1.5G", "2000000000"])
def test_memory_is_a_kubernetes_quantity(memory: str) -> None:
    from kubernetes.utils.quantity import parse_quantity

    assert ResourceSettings(memory=memory).memory == memory
    assert parse_quantity(memory) > 1e8


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("runtime.resources.trainr.cpu=2", "runtime.resources.trainr"),
        ("runtime.resources.trainer.cpus=2", "no such key; did you mean 'cpu'?"),
        (
            "runtime.resources.trainer.memory=16GB",
            "trainer.memory: must be a number of bytes",
        ),
        (
            "runtime.resources.trainer.cpu=0",
            "trainer.cpu: must be a number above 0",
        ),
        ("runtime.resources.trainer.retries=-1", "runtime.resources.trainer.retries: must be"),
        (
            "runtime.resources.evaluator.replicas=2",
            "runtime.resources: evaluator.replicas must not be set, since only trainers",
        ),
        (
            "runtime.resources.default.machine_type=n1-standard-8",
            "set runtime.resources.trainer.machine_type",
        ),
        ("runtime.beam.laptop.workers=1", "runtime.beam.laptop"),
        ("runtime.beam.local.runer=flink", "no such key; did you mean 'runner'?"),
        ("runtime.beam.local.workers=2", "workers: must be 1 with the runner in_memory, got 2"),
        ("runtime.beam.local.runner=portable", "add --job_endpoint=HOST:PORT"),
        (
            "runtime.beam.local.options=[x=1]",
            "runtime.beam.local.options.0: must be an option of Beam",
        ),
        ("runtime.vertex.projekt=acme", "no such key; did you mean 'project'?"),
        ("runtime.kubeflow.endpoint=''", "runtime.kubeflow.endpoint: must not be empty"),
    ],
)
def test_what_is_wrong_is_named(override: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("digits", [override])
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_do_not_change() -> None:
    settings: Any = RuntimeSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.image = "x"
