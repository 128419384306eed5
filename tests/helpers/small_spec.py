"""A compiled pipeline of one node, with the parameters of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = "gs://bucket/root"


def spec(name: str = "digits", **changes: Any) -> dict[str, Any]:
    """A pipeline spec 2.1 as a mapping."""
    parameters = {
        "data_path": {"parameterType": "STRING", "defaultValue": ""},
        "temperature": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 4.0},
        "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 30},
    }
    container = {"image": "registry/image:1", "command": ["python"], "args": ["{{$}}"]}
    task = {
        "componentRef": {"name": "comp-train"},
        "taskInfo": {"name": "train"},
        "cachingOptions": {"enableCache": True},
        "inputs": {"parameters": {"epochs": {"componentInputParameter": "epochs"}}},
    }
    inputs = {"parameters": {"epochs": {"parameterType": "NUMBER_INTEGER"}}}
    return {
        "pipelineInfo": {"name": name},
        "schemaVersion": "2.1.0",
        "sdkVersion": "tfx-1.21.0",
        "defaultPipelineRoot": ROOT,
        "root": {"inputDefinitions": {"parameters": parameters}, "dag": {"tasks": {"train": task}}},
        "components": {"comp-train": {"executorLabel": "train", "inputDefinitions": inputs}},
        "deploymentSpec": {"executors": {"train": {"container": container}}},
        **changes,
    }


def write_spec(directory: Path, name: str = "digits", **changes: Any) -> str:
    """The path of a file for Kubeflow."""
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec(name, **changes)))
    return str(path)


def write_job(directory: Path, name: str = "digits", **changes: Any) -> str:
    """The path of a file for Vertex AI."""
    job = {
        "displayName": name,
        "labels": {"tfx_version": "1-21-0"},
        "pipelineSpec": spec(name),
        "runtimeConfig": {"gcsOutputDirectory": ROOT},
    }
    path = directory / f"{name}.json"
    path.write_text(json.dumps({**job, **changes}))
    return str(path)
