"""manifest.json of a pushed version: what it is made of, and what was measured on it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SAVED_MODEL, TFLITE = "saved_model", "tflite"
MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 3


def _stays_inside(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"the name of a file must stay inside its version, got {name!r}")
    return name


FileName = Annotated[str, AfterValidator(_stays_inside)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """Base of all parts; ignores the keys of later schemas."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class TFLiteFile(_Part):
    """One TFLite file.

    Attributes:
      inputs: `name`, `shape`, `dtype`, `quantization` and `description` of each, as the
        Exporter's spec.json has them.
      output: the same without description; its name is `logits`, of a regression `values`.
      metrics: the variant's entry in report.json.
    """

    variant: str
    file: FileName
    sha256: Sha256
    size_bytes: int
    inputs: tuple[dict[str, Any], ...]
    output: dict[str, Any]
    metrics: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _had_one_input(cls, value: Any) -> Any:
        """Before schema 3 a file had one, `input`; such versions are still rolled back to."""
        if isinstance(value, dict) and "input" in value:
            return {**value, "inputs": [value["input"]]}
        return value


class Vocabulary(_Part):
    """A vocabulary beside the manifest: one entry per line, in the order of the ids."""

    file: FileName
    sha256: Sha256


class Preprocessing(_Part):
    """How a raw example becomes the inputs of the TFLite files.

    Attributes:
      spec: `modules.data.spec.DataSpec` as JSON: the inputs, and the settings of the features.
      raw: by raw feature, its `type` (string, integer, number), whether it is `optional`, whether
        an example has `many`, and the `argument` of `serving_raw` that takes it.
      vocabularies: by raw feature.
    """

    spec: dict[str, Any]
    raw: dict[str, dict[str, Any]]
    vocabularies: dict[str, Vocabulary]


class SavedModelFiles(_Part):
    """The SavedModel: its directory, relative to the manifest's, and the SHA-256 of each file."""

    path: str
    files: dict[FileName, Sha256]


class Judged(_Part):
    """Entries of report.json as they were judged; empty for schema 1, which did not keep them."""

    student: dict[str, Any] | None = None
    variants: dict[str, dict[str, Any]] = {}
    comparison: dict[str, Any] | None = None


class Rollback(_Part):
    """This version was published to go back.

    Attributes:
      to: the version, as it was first pushed, whose content this one has.
      from_version: the version that was the newest, `from` in JSON.
    """

    to: int
    from_version: int = Field(alias="from")


class Manifest(TFLiteFile):
    """A pushed version; the first TFLite file is described at the top, the others in `more`.

    Schema 1 lacks `more`, `report`, `rollback` and `pipeline`; schema 2 has no `preprocessing`, and
    its models are classifiers of images.
    """

    schema_version: int = Field(ge=1)
    version: int = Field(ge=0)
    created: str
    pipeline: str | None = None
    task: str = "classification"
    labels: list[str]
    preprocessing: Preprocessing | None = None
    more: tuple[TFLiteFile, ...] = ()
    saved_model: SavedModelFiles
    report: Judged = Judged()
    rollback: Rollback | None = None

    @property
    def origin(self) -> int:
        """The version that first had this content; after a rollback, an earlier one."""
        return self.rollback.to if self.rollback else self.version

    @property
    def tflite(self) -> tuple[TFLiteFile, ...]:
        """Every TFLite file, the first one included."""
        first = self.model_dump(include=set(TFLiteFile.model_fields))
        return (TFLiteFile.model_validate(first), *self.more)

    @property
    def files(self) -> dict[str, dict[str, str]]:
        """SHA-256 of every file but the manifest itself, by format and name."""
        vocabularies = self.preprocessing.vocabularies.values() if self.preprocessing else ()
        tflite = {entry.file: entry.sha256 for entry in (*self.tflite, *vocabularies)}
        return {SAVED_MODEL: self.saved_model.files, TFLITE: tflite}

    @property
    def content_digest(self) -> str:
        """SHA-256 of what makes up the model, without measurements, version and time."""
        content = {
            "labels": self.labels,
            "task": self.task,
            "preprocessing": self.preprocessing and self.preprocessing.model_dump(),
            SAVED_MODEL: self.saved_model.files,
            TFLITE: [entry.model_dump(exclude={"metrics"}) for entry in self.tflite],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def with_saved_model_files(self, files: dict[str, str]) -> Manifest:
        """The same with other SavedModel files."""
        place = SavedModelFiles(path=self.saved_model.path, files=files)
        return self.model_copy(update={"saved_model": place})

    def published(self, version: int, created: str, rollback: Rollback | None = None) -> Manifest:
        """The manifest of the same content as another version."""
        place = SavedModelFiles(path=f"../../{SAVED_MODEL}/{version}", files=self.saved_model.files)
        return self.model_copy(
            update={
                "schema_version": SCHEMA_VERSION,
                "version": version,
                "created": created,
                "saved_model": place,
                "rollback": rollback,
            }
        )

    def judged(self) -> dict[str, Any]:
        """`version`, `student` and `variants`, which a later student's gate compares with."""
        variants = self.report.variants or {entry.variant: entry.metrics for entry in self.tflite}
        return {"version": self.version, "student": self.report.student, "variants": variants}

    def to_json(self) -> bytes:
        """The content of manifest.json."""
        content = self.model_dump(by_alias=True)
        return json.dumps(content, indent=2, ensure_ascii=False).encode()
