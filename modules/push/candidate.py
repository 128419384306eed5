"""What is to be pushed, and the manifest that describes it before it has a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.errors import ModelError, UserError
from modules.export.layout import (
    EXTRA_ASSETS,
    PREPROCESSING,
    PREPROCESSING_FILE,
    SPEC_FILE,
    STUDENT,
    TFLITE_FILE,
    WARMUP,
)
from modules.files import file_names, read_bytes, sha256
from modules.push.destination import SAVED_MODEL_FILE, Paths
from modules.push.manifest import (
    SAVED_MODEL,
    SCHEMA_VERSION,
    TFLITE,
    Judged,
    Manifest,
    Preprocessing,
    SavedModelFiles,
    TFLiteFile,
)


@dataclass(frozen=True)
class Candidate:
    """What is to be pushed; the directories are local paths or URLs.

    Attributes:
      saved_model_dir: directory with `saved_model.pb`.
      export_dir: what the Exporter wrote, see `modules.export.layout`.
      report: report.json; its `gate.tflite` names the variants that ship, its entries of
        `variants` the files that were measured by their `sha256`.
      pipeline: name of the pipeline.
    """

    saved_model_dir: str
    export_dir: str
    report: Mapping[str, Any]
    pipeline: str


def describe(candidate: Candidate) -> tuple[Manifest, Paths]:
    """The candidate's manifest, without version and time, and the paths of its files.

    Args:
      candidate: the model.

    Raises:
      ModelError: the export is incomplete, or not what was measured.
      UserError: the report names no variant to ship, or has no measurements of one.
    """
    measured = _shipping(candidate.report)
    try:
        specs = {name: _spec(candidate, name) for name in measured}
        spec = next(iter(specs.values()))
        saved_model = _saved_model(candidate)
        first, *more = _named(
            [_entry(candidate, name, specs[name], measured[name]) for name in measured]
        )
        manifest = Manifest(
            **first.model_dump(),
            schema_version=SCHEMA_VERSION,
            version=0,
            created="",
            pipeline=candidate.pipeline,
            task=spec["task"],
            labels=spec["labels"],
            preprocessing=_preprocessing(candidate),
            more=tuple(more),
            saved_model=SavedModelFiles(
                path="", files={name: sha256(path) for name, path in saved_model.items()}
            ),
            report=_judged(candidate.report),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the export in {candidate.export_dir} or {candidate.saved_model_dir} is incomplete "
            f"({type(error).__name__}: {reason}); export the model again"
        ) from error
    for entry in manifest.tflite:
        _check_measured(candidate, entry, specs[entry.variant])
    _check_saved_model(candidate, manifest.saved_model.files)
    tflite = {entry.file: _path(candidate, entry.variant) for entry in manifest.tflite}
    vocabularies = set(manifest.files[TFLITE]) - set(tflite)
    tflite |= {name: _below(candidate, PREPROCESSING, name) for name in vocabularies}
    return manifest, {SAVED_MODEL: saved_model, TFLITE: tflite}


def _shipping(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The variants that the gate chose, in its order, with what was measured on them."""
    try:
        measured = {name: dict(report["variants"][name]) for name in report["gate"]["tflite"]}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "report.json must name in gate.tflite the variants that ship and have each under "
            f"variants ({type(error).__name__}: {error}); evaluate the model again"
        ) from error
    if not measured:
        raise UserError(
            "report.json must name in gate.tflite at least one variant that ships, but the list is "
            "empty; evaluate the model again"
        )
    return measured


def _path(candidate: Candidate, variant: str, name: str = TFLITE_FILE) -> str:
    return _below(candidate, STUDENT, variant, name)


def _below(candidate: Candidate, *names: str) -> str:
    return "/".join((candidate.export_dir.rstrip("/"), *names))


def _spec(candidate: Candidate, variant: str) -> dict[str, Any]:
    return dict(json.loads(read_bytes(_path(candidate, variant, SPEC_FILE))))


def _entry(
    candidate: Candidate, variant: str, spec: Mapping[str, Any], metrics: Mapping[str, Any]
) -> TFLiteFile:
    content = read_bytes(_path(candidate, variant))
    return TFLiteFile(
        variant=variant,
        file=TFLITE_FILE,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        inputs=spec["inputs"],
        output=spec["output"],
        metrics=dict(metrics),
    )


def _named(entries: list[TFLiteFile]) -> list[TFLiteFile]:
    """The first file is model.tflite, where every reader looks; other names have the variant."""
    first, *more = entries
    return [
        first,
        *(entry.model_copy(update={"file": f"model_{entry.variant}.tflite"}) for entry in more),
    ]


def _judged(report: Mapping[str, Any]) -> Judged:
    return Judged(
        student=report.get("student"),
        variants=report["variants"],
        comparison=report.get("comparison"),
    )


def _preprocessing(candidate: Candidate) -> Preprocessing:
    path = _below(candidate, PREPROCESSING, PREPROCESSING_FILE)
    return Preprocessing.model_validate_json(read_bytes(path))


def _saved_model(candidate: Candidate) -> dict[str, str]:
    """Paths of all files of the SavedModel, by their relative names, warm-up requests included."""
    directory = candidate.saved_model_dir.rstrip("/")
    names = file_names(directory)
    if SAVED_MODEL_FILE not in names:
        raise FileNotFoundError(f"no {SAVED_MODEL_FILE} in {directory}")
    warmup = _below(candidate, WARMUP)
    requests = {f"{EXTRA_ASSETS}/{name}": f"{warmup}/{name}" for name in file_names(warmup)}
    return {name: f"{directory}/{name}" for name in names} | requests


def _check_saved_model(candidate: Candidate, files: Mapping[str, str]) -> None:
    """Warm-up requests are no part of the model, and are not measured."""
    warmup = {f"{EXTRA_ASSETS}/{name}" for name in file_names(_below(candidate, WARMUP))}
    shipping = {name: digest for name, digest in files.items() if name not in warmup}
    measured = candidate.report.get("saved_model") or {}
    differing = sorted(
        name for name in {*shipping, *measured} if shipping.get(name) != measured.get(name)
    )
    if differing:
        name = differing[0]
        raise ModelError(
            "the SavedModel that ships must be the one that was measured, but the sha256 of "
            f"{name} is {measured.get(name)} in the report and {shipping.get(name)} in "
            f"{candidate.saved_model_dir}; train and evaluate the model again"
        )


def _check_measured(candidate: Candidate, entry: TFLiteFile, spec: Mapping[str, Any]) -> None:
    recorded = {"report": entry.metrics.get("sha256"), SPEC_FILE: spec.get("sha256")}
    for source, digest in recorded.items():
        if digest != entry.sha256:
            raise ModelError(
                "the file that ships must be the file that was measured, but for variant "
                f"{entry.variant!r} sha256 is {digest} in the {source} and {entry.sha256} in "
                f"{_path(candidate, entry.variant)}; export and evaluate the model again"
            )
