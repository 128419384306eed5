"""A student that was not pushed, kept in the run's output directory for whoever wants to ask it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from modules.errors import UserError
from modules.push.candidate import Candidate
from modules.push.publish import push

REFUSED_DIR = "refused"
_LOG = logging.getLogger("tfx_distill.run")


def keep_refused(output: Path, pipeline: str, saved_model: str, export: str) -> None:
    """Lay the student out as a push would, with all its TFLite files, below `output/refused`.

    Args:
      output: The run's output directory, with its report.
      pipeline: Its name.
      saved_model: Directory of the SavedModel.
      export: What the Exporter wrote.
    """
    forget_refused(output)
    report = json.loads((output / "report" / "report.json").read_text(encoding="utf-8"))
    candidate = Candidate(
        saved_model_dir=saved_model,
        export_dir=export,
        # The gate has named none that ships.
        report=report | {"gate": {"tflite": list(report["variants"])}},
        pipeline=pipeline,
    )
    try:
        push(candidate, str(output / REFUSED_DIR))
    except UserError as error:
        _LOG.warning("the refused student cannot be kept to be asked: %s", error)


def forget_refused(output: Path) -> None:
    """Remove the student that an earlier run was refused."""
    shutil.rmtree(output / REFUSED_DIR, ignore_errors=True)
