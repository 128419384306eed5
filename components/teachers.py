"""The teachers of a student as inputs of a component, one for each.

One input with several channels would be shorter, but Kubeflow Pipelines takes one channel each.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfx import types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter

from components.artifacts import TeacherAnswers
from modules.settings import MOST_TEACHERS

_NUMBERS = ("", *(f"_{number}" for number in range(2, MOST_TEACHERS + 1)))
_MODELS = tuple(f"teachers{number}" for number in _NUMBERS)
_ANSWERS = tuple(f"answers{number}" for number in _NUMBERS)
# Models, which can teach in every step.
TEACHER_INPUTS = {
    name: ChannelParameter(type=standard_artifacts.Model, optional=True) for name in _MODELS
}
# What teachers that are no models have answered.
ANSWER_INPUTS = {name: ChannelParameter(type=TeacherAnswers, optional=True) for name in _ANSWERS}


def teacher_channels(teachers: Sequence[types.BaseChannel]) -> dict[str, types.BaseChannel]:
    """The inputs for models and answers in the order of their weights."""
    assert len(teachers) <= MOST_TEACHERS
    return {
        (_ANSWERS if channel.type is TeacherAnswers else _MODELS)[at]: channel
        for at, channel in enumerate(teachers)
    }


def teachers_of(input_dict: dict[str, list[types.Artifact]]) -> list[types.Artifact]:
    """Models and answers, in the same order."""
    return [
        artifact
        for names in zip(_MODELS, _ANSWERS, strict=True)
        for name in names
        for artifact in input_dict.get(name, [])
    ]
