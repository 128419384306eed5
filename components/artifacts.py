"""Artifact types that TFX does not have, and where the files of its Examples lie."""

from collections.abc import Sequence

from tfx.types import artifact, artifact_utils
from tfx.utils import io_utils


class TFLiteModels(artifact.Artifact):
    """The TFLite files of one export, and what is pushed with them.

    The layout below the artifact's uri is that of `modules.export.layout`.
    """

    # Imported from here by the Kubeflow v2 runner, through components/__init__.py.
    TYPE_NAME = "components.TFLiteModels"


class TeacherLogits(artifact.Artifact):
    """One or more teachers' logits for every training example and view.

    The layout below the artifact's uri is that of `modules.teachers.cache`.
    """

    TYPE_NAME = "components.TeacherLogits"


def split_patterns(examples: Sequence[artifact.Artifact], split: str) -> tuple[str, ...]:
    """Patterns of the files of a split; none if no artifact has it."""
    having = [
        each for each in examples if split in artifact_utils.decode_split_names(each.split_names)
    ]
    return tuple(
        io_utils.all_files_pattern(uri) for uri in artifact_utils.get_split_uris(having, split)
    )


class TeacherAnswers(artifact.Artifact):
    """What a teacher that is no Keras model answers to every raw example.

    The layout below the artifact's uri is that of `modules.teachers.answer_store`.
    """

    TYPE_NAME = "components.TeacherAnswers"
