"""An executor that does nothing but remember what it was given."""

from __future__ import annotations

from typing import Any, ClassVar

from tfx.dsl.components.base import base_executor


class RecordingExecutor(base_executor.BaseExecutor):
    given: ClassVar[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]

    def Do(  # noqa: N802
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: Any
    ) -> None:
        type(self).given = (input_dict, output_dict, exec_properties)
