"""TFX components of the pipeline: thin shells that go from artifacts to paths to `modules`.

The artifact types are attributes of this package because the Kubeflow v2 runner imports one by
its `TYPE_NAME`, which must read `package.Class`. They are looked up on first use, so that
importing this package does not import TFX.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("TFLiteModels", "TeacherAnswers", "TeacherLogits"):
        from components import artifacts

        return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
