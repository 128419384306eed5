"""TFX components of the pipeline: thin shells that go from artifacts to paths to `modules`.

`components.TFLiteModels` exists because the Kubeflow v2 runner imports an artifact type by its
`TYPE_NAME`, which must read `package.Class`. It is looked up on first use, so that importing this
package does not import TFX.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "TFLiteModels":
        from components.artifacts import TFLiteModels

        return TFLiteModels
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
