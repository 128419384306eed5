"""What a Trainer or the search is told: TFX's `custom_config`, written and read once.

Nothing heavy is imported here: the graph is made of it.
"""

from __future__ import annotations

from pydantic import Field

from modules.code_digest import code_digest
from modules.input_digest import Memory, model_digest
from modules.models.known import KnownModel
from modules.settings import (
    AugmentSettings,
    DataSettings,
    DistillSettings,
    ModelSettings,
    RuntimeSettings,
    SearchPlan,
    Settings,
    Strategy,
)

_RUNTIME = RuntimeSettings()


def assistant_digests(
    distill: DistillSettings | None, memory: Memory | None = None
) -> tuple[str, ...]:
    """Of each assistant, see `model_digest`; none of a training without a teacher."""
    return tuple(model_digest(each, memory) for each in (distill.assistants if distill else ()))


class TrainingConfig(Settings):
    """One training. A stock TFX Trainer takes `custom_config=config.model_dump(mode="json")`."""

    model: ModelSettings = Field(description="what is trained; of a distillation, the student")
    data: DataSettings = Field(description="the input of the models")
    augment: AugmentSettings = Field(AugmentSettings(), description="views of training images")
    views: int = Field(0, ge=0, description="of an example; 0: another one in every epoch")
    seed: int = Field(0, ge=0, description="of weights, order and views")
    strategy: Strategy = Field(_RUNTIME.strategy, description="see runtime.strategy")
    checkpoint_seconds: float = Field(
        _RUNTIME.checkpoint_seconds, ge=0, description="see runtime.checkpoint_seconds"
    )
    quantization_aware: bool = Field(
        False, description="of a student and its control, see export.quantization"
    )
    distill: DistillSettings | None = Field(None, description="null: the labels alone")
    teacher_weights: tuple[float, ...] = Field((), description="shares of the teachers, in order")
    allow_weak: bool | None = Field(
        None, description="of a teacher, see teacher.allow_weak; null: it is no teacher"
    )
    search: SearchPlan | None = Field(None, description="what the node Search looks for")
    student: KnownModel | None = Field(
        None, description="what a search may choose, to which its result is held"
    )
    baseline: KnownModel | None = Field(
        None, description="the teacher that a search times its students against"
    )
    output_dir: str | None = Field(
        None, description="of one of the node's outputs, where TFX does not tell; set by Search"
    )
    teacher_dirs: tuple[str, ...] = Field(
        (), description="serving directories of the teachers, in order; set by our executors"
    )
    teacher_models: tuple[KnownModel, ...] = Field(
        (), description="what is known of those models, to which their files are held"
    )
    unlabeled: bool = Field(
        False,
        description="whether unlabeled examples count: a student learns from them, and its control "
        "takes as many steps on the labeled ones",
    )
    unlabeled_files: tuple[str, ...] = Field(
        (), description="patterns of the unlabeled examples; set by our executors"
    )
    soft_targets_dir: str | None = Field(
        None, description="the teachers' cached logits; null: the teachers run in every step"
    )
    # TFX's cache knows neither our code nor the user's builder and files by anything else.
    code_digest: str = Field(default_factory=code_digest)
    builder_digest: str = Field(
        default_factory=lambda validated: model_digest(validated["model"]),
    )
    assistant_digests: tuple[str, ...] = Field(
        default_factory=lambda validated: assistant_digests(validated["distill"]),
    )

    def to_json(self) -> str:
        """The execution property: without settings that, changed, need no other training."""
        return self.model_dump_json(exclude={"distill": {"control", "top_k"}})
