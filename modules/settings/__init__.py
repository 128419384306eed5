"""The sections of the configuration, one for each part of `modules` that uses one.

They are pydantic models and import nothing heavy, so that a configuration is validated before
TensorFlow or TFX is loaded. `pipeline.config.PipelineConfig` composes them. Executors receive
them as JSON (`model_dump_json`) and read them back with `model_validate_json`.

The descriptions and the first paragraphs of the docstrings are printed as the reference
(`tfx-distill settings`, docs/configuration.md). A validator's message does not name its key: the
caller knows it. Rules between two keys are validators of the later one, so that they are reported
together with whatever else is wrong in the section.
"""

from modules.settings.base import (
    EMBEDDED,
    MOST_TEACHERS,
    USERS_FUNCTION,
    Fraction,
    Int8Input,
    PathOrUrl,
    Settings,
    Strategy,
    Task,
    TFLiteVariant,
    of_pattern,
)
from modules.settings.checks import CheckSettings, DistanceSettings, DriftSettings
from modules.settings.data import DataSettings, RecordedExamples
from modules.settings.distillation import AugmentSettings, DistillSettings, MethodSettings
from modules.settings.features import (
    CategoryFeature,
    FeatureSettings,
    ImageFeature,
    NumericFeature,
    TextFeature,
)
from modules.settings.judgment import EvaluateSettings, GateSettings, LatencySettings, Limit
from modules.settings.models import ModelSettings, TeacherSettings, TrainSettings
from modules.settings.runtime import (
    BeamSettings,
    KubeflowSettings,
    Place,
    ResourceSettings,
    Role,
    RuntimeSettings,
    VertexSettings,
)
from modules.settings.search import (
    Objective,
    SearchBudget,
    SearchPlan,
    SearchSettings,
    StudentChoice,
)
from modules.settings.shipping import ExportSettings, PushSettings, VertexRegistrySettings

__all__ = [
    "EMBEDDED",
    "MOST_TEACHERS",
    "USERS_FUNCTION",
    "AugmentSettings",
    "BeamSettings",
    "CategoryFeature",
    "CheckSettings",
    "DataSettings",
    "DistanceSettings",
    "DistillSettings",
    "DriftSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FeatureSettings",
    "Fraction",
    "GateSettings",
    "ImageFeature",
    "Int8Input",
    "KubeflowSettings",
    "LatencySettings",
    "Limit",
    "MethodSettings",
    "ModelSettings",
    "NumericFeature",
    "Objective",
    "PathOrUrl",
    "Place",
    "PushSettings",
    "RecordedExamples",
    "ResourceSettings",
    "Role",
    "RuntimeSettings",
    "SearchBudget",
    "SearchPlan",
    "SearchSettings",
    "Settings",
    "Strategy",
    "StudentChoice",
    "TFLiteVariant",
    "Task",
    "TeacherSettings",
    "TextFeature",
    "TrainSettings",
    "VertexRegistrySettings",
    "VertexSettings",
    "of_pattern",
]
