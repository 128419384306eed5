"""Artifact types that TFX does not have."""

from tfx.types import artifact


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


class TeacherAnswers(artifact.Artifact):
    """What a teacher that is no Keras model answers to every raw example.

    The layout below the artifact's uri is that of `modules.teachers.answer_store`.
    """

    TYPE_NAME = "components.TeacherAnswers"
