"""Trial conversions: `python -m modules.measure.conversion_worker DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from modules.data.spec import DataSpec
from modules.errors import UserError
from modules.export.tflite import Conversion
from modules.measure.child_process import Parent
from modules.models import zoo
from modules.models.probe import random_inputs
from modules.settings import ModelSettings

_CALIBRATION_EXAMPLES = 4


def main(directory: str) -> None:
    """Builds the models of the task and converts them; answers what has gone wrong."""
    parent = Parent(directory)
    task, _ = parent.task()
    sys.path += [each for each in task["path"] if each not in sys.path]
    spec = DataSpec.model_validate(task["spec"])
    problems: dict[str, str] = {}
    for place, wanted in task["models"].items():
        model = zoo.build_model(
            ModelSettings.model_validate(wanted["settings"]), spec.by_name, spec.output
        )
        examples = random_inputs(spec.by_name, _CALIBRATION_EXAMPLES)
        with Conversion(model, spec.output, task["int8_input"]) as conversion:
            for variant in wanted["variants"]:
                subject = f"{place} {variant}"
                if subject in task["skip"]:
                    continue
                parent.note(subject)
                try:
                    content = conversion.file(variant, examples)
                except UserError as error:
                    problems[subject] = str(error)
                else:
                    if task["keep"]:
                        Path(task["keep"], f"{subject}.tflite").write_bytes(content)
        parent.note("")
    parent.answer(problems, {})


if __name__ == "__main__":
    main(sys.argv[1])
