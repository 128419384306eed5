"""The teachers of a student as inputs of a component, one for each.

One input with several channels would be shorter, but Kubeflow Pipelines takes one channel each.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfx import types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter

from modules.settings import MOST_TEACHERS

_NAMES = ("teachers", *(f"teachers_{number}" for number in range(2, MOST_TEACHERS + 1)))
TEACHER_INPUTS = {
    name: ChannelParameter(type=standard_artifacts.Model, optional=name != _NAMES[0])
    for name in _NAMES
}


def teacher_channels(models: Sequence[types.BaseChannel]) -> dict[str, types.BaseChannel]:
    """The inputs for models in the order of their weights."""
    assert 1 <= len(models) <= MOST_TEACHERS
    return dict(zip(_NAMES, models, strict=False))


def teacher_uris(input_dict: dict[str, list[types.Artifact]]) -> list[str]:
    """Where the models lie, in the same order."""
    return [artifact.uri for name in _NAMES for artifact in input_dict.get(name, [])]
