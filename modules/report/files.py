"""Writing a report's files and reading report.json back.

The schema is `modules.judge.schema`. Imports neither TensorFlow nor SciPy: the command line reads
reports, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from modules.errors import UserError, first_problem
from modules.judge.schema import SCHEMA_VERSION, Report
from modules.report.table import markdown_table

# In the output directory of a run.
REPORT_DIR = "report"
REPORT_JSON, REPORT_MARKDOWN = "report.json", "report.md"
REPORT_HTML, MODEL_CARD = "index.html", "model_card.md"
REPORT_FILES = (REPORT_MARKDOWN, REPORT_HTML, MODEL_CARD, REPORT_JSON)


def write_report(report: Report, images: Mapping[str, bytes], directory: str | Path) -> None:
    """Writes `REPORT_FILES`, report.json last; each appears whole or not at all.

    Args:
      report: what `build_report` returned.
      images: PNG files of `report.disagreements`, by example id.
      directory: a local directory, made if it is not there.

    Raises:
      ValueError: the directory is a URL, which `pathlib` would take for a local one.
    """
    if "://" in str(directory):
        raise ValueError(f"directory must be local, got {directory}; copy the files from there")
    # Charts take a second to import, and whoever only reads a report needs none.
    from modules.report import model_card, page

    Path(directory).mkdir(parents=True, exist_ok=True)
    texts = {
        REPORT_MARKDOWN: markdown_table(report),
        REPORT_HTML: page.render(report, images),
        MODEL_CARD: model_card.render(report),
        REPORT_JSON: report.model_dump_json(indent=2) + "\n",
    }
    for name in REPORT_FILES:
        aside = Path(directory, f".{name}.{os.getpid()}")
        try:
            aside.write_text(texts[name], encoding="utf-8")
            os.replace(aside, Path(directory, name))
        finally:
            aside.unlink(missing_ok=True)


def read_report(path: str | Path) -> Report:
    """Reads a report.

    Args:
      path: `report.json`, or the directory that it is in, or the output directory of the run.

    Raises:
      UserError: there is no such file, it is not a report, or one of another schema version.
    """
    file = _report_file(Path(path))
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"no report can be read at {file} ({error.strerror}); "
            "run the pipeline up to the Evaluator, which writes it"
        ) from error
    except ValueError as error:
        raise UserError(
            f"the report {file} is not valid JSON ({error}); run the Evaluator again"
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"the report {file} must have schema_version {SCHEMA_VERSION}, but it is {version!r}; "
            "read it with the tfx-distill that wrote it, or run the Evaluator again"
        )
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"the report {file} is damaged: {first_problem(error)} "
            f"({error.error_count()} such errors); run the Evaluator again"
        ) from error


def _report_file(path: Path) -> Path:
    if path.suffix == ".json":
        return path
    inside = path / REPORT_JSON
    return inside if inside.exists() else path / REPORT_DIR / REPORT_JSON
