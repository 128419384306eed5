"""The public face: what a user of the library imports. It defines nothing and loads lazily.

Without a pipeline, as any Keras model:

    distiller = td.Distiller(teacher, student, methods="soft_target", alpha=0.1, temperature=4)
    distiller.compile("adam")
    distiller.fit(images, labels, epochs=10)

A whole pipeline, and what it leaves behind:

    outcome = td.run(td.load_config("digits"), "runs/digits")
    report = td.load_report("runs/digits")
    answers = td.predict(td.find_models("runs/digits"), images, top_k=3)

A loss by itself, as a function of logits:

    td.losses.soft_target_loss(student_logits, teacher_logits, temperature=4)

`td` stands for `import tfx_distill as td`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modules.distill import losses
    from modules.distill.distiller import Distiller
    from modules.distill.methods import METHODS
    from modules.errors import UserError
    from modules.predict.prediction import predict
    from modules.predict.pushed_models import find_models
    from modules.push.verify import verify
    from modules.report.files import read_report as load_report
    from pipeline.config import load_config
    from pipeline.local_runner import run

__all__ = [
    "METHODS",
    "Distiller",
    "UserError",
    "find_models",
    "load_config",
    "load_report",
    "losses",
    "predict",
    "run",
    "verify",
]

# Where a name is defined, and what it is called there.
_DEFINED_IN = {
    "METHODS": "modules.distill.methods:METHODS",
    "Distiller": "modules.distill.distiller:Distiller",
    "UserError": "modules.errors:UserError",
    "find_models": "modules.predict.pushed_models:find_models",
    "load_config": "pipeline.config:load_config",
    "load_report": "modules.report.files:read_report",
    "losses": "modules.distill.losses:",
    "predict": "modules.predict.prediction:predict",
    "run": "pipeline.local_runner:run",
    "verify": "modules.push.verify:verify",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(
            f"tfx_distill has no {name!r}; it offers {', '.join(sorted(__all__, key=str.lower))}"
        )
    module, _, attribute = _DEFINED_IN[name].partition(":")
    value: Any = importlib.import_module(module)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
