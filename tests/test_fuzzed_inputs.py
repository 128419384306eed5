"""What nobody has thought of: one line with the right code, or taken; never a traceback.

The examples are the same in every run. `FUZZ=5000 pytest tests/test_fuzzed_inputs.py` tries as many
of each kind.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pushes import push_all

from modules.data.images import plain_image
from modules.data.sources.image_folder import ImageFolder
from modules.errors import DataError
from modules.push.verify import verify
from modules.settings import DataSettings
from pipeline.cli.main import main
from pipeline.config import PRESETS_DIR, PipelineConfig
from pipeline.configuration.errors import alternatives

COUNT = int(os.environ.get("FUZZ", "0"))
SCHEMA = PipelineConfig.model_json_schema()
PRESET = (PRESETS_DIR / "digits.yaml").read_bytes()
PYDANTIC = ("Input should", "Value error", "valid string", "after validation", "Field required")


def tried(examples: int) -> Any:
    """Bounded, without a clock and without a memory, so that every run is the same."""
    return settings(
        max_examples=COUNT or examples,
        derandomize=not COUNT,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def keys(schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Every dotted key of the configuration."""
    for member in alternatives(schema, SCHEMA):
        for name, below in member.get("properties", {}).items():
            key = f"{place}.{name}".removeprefix(".")
            yield key
            yield from keys(below, key)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(["auto", "float32", "class_name", "mlp", "a:b", "student.ece", "s3://a", "*"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)
OVERRIDES = st.lists(
    st.tuples(st.sampled_from(sorted(set(keys(SCHEMA)))), VALUES), min_size=1, max_size=3
)


def spliced(whole: bytes) -> st.SearchStrategy[bytes]:
    """The same with a few places overwritten, doubled or cut out."""
    places = st.integers(0, len(whole))
    edits = st.lists(st.tuples(places, st.integers(0, 30), st.binary(max_size=12)), max_size=4)

    def edited(each: list[tuple[int, int, bytes]]) -> bytes:
        content = whole
        for at, length, put in each:
            content = content[:at] + put + content[at + length :]
        return content

    return edits.map(edited)


def check(result: Result, origin: str) -> None:
    """A configuration was taken, or all that is wrong with it is told in our words, a line each."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = result.stderr.splitlines()
    assert result.exit_code in (0, 2)
    if result.exit_code:
        assert lines and all(line.startswith(f"error: {origin}") for line in lines)
        assert not [line for line in lines if any(words in line for words in PYDANTIC)]
    else:
        assert all(line.startswith("note: a run on this machine would end at ") for line in lines)


@tried(150)
@given(OVERRIDES)
def test_settings(changes: list[tuple[str, Any]]) -> None:
    given = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)}"
        for key, value in changes
    ]
    options = [part for each in given for part in ("--set", each)]
    check(CliRunner().invoke(main, ["validate", "digits", *options]), "--set ")


@tried(150)
@given(spliced(PRESET) | st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_configurations(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(content)
        check(CliRunner().invoke(main, ["validate", file.name]), f"{file.name}: ")


def taken(read: Callable[[], Any], place: str) -> Any:
    """What is read; None if it is refused, in one line that names the place."""
    try:
        return read()
    except DataError as error:
        line = str(error)
    assert place in line and "\n" not in line
    return None


TABLE = b'file_name,site,light\na/1.png,"x, y",1\nb/2.png,,\xc3\xa9\n'


@tried(300)
@given(spliced(TABLE) | st.binary(max_size=100))
def test_metadata_of_images(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in ("a/1.png", "b/2.png"):
            (Path(directory) / name).parent.mkdir()
            (Path(directory) / name).touch()
        (Path(directory) / "metadata.csv").write_bytes(content)
        options = DataSettings(source="image_folder", path=directory)
        found = taken(lambda: ImageFolder.look(options), "metadata.csv")
    assert found is None or (found[0] == "image" and len(set(found)) == len(found))


def parts(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in JSON."""
    yield place
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from parts(content[key], (*place, key))


def changed(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """JSON with another value somewhere."""
    if not place:
        return value
    first, *rest = place
    copy = content.copy()
    copy[first] = changed(content[first], tuple(rest), value)
    return copy


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pushed")
    push_all(directory, directory / "to", "a", now=lambda: 7)
    return directory / "to"


@tried(300)
@given(st.data())
def test_manifests(pushed: Path, data: st.DataObject) -> None:
    """Whatever a manifest says: what is wrong is told, and nothing outside is looked at."""
    file = pushed / "tflite" / "7" / "manifest.json"
    whole = file.read_bytes()
    manifest = json.loads(whole)
    place = data.draw(st.sampled_from(list(parts(manifest))))
    other = json.dumps(changed(manifest, place, data.draw(JSON))).encode()
    try:
        file.write_bytes(data.draw(st.just(other) | spliced(whole)))
        problems = verify(str(pushed)).problems
    finally:
        file.write_bytes(whole)
    assert all("\n" not in problem and problem.endswith(".") for problem in problems)


def pictures() -> list[bytes]:
    """One of each format."""
    image = Image.linear_gradient("L").resize((9, 7))
    exif = image.getexif()
    exif[0x0112] = 6
    kinds = {"PNG": "RGBA", "JPEG": "CMYK", "WEBP": "RGB", "BMP": "RGB", "GIF": "P"}
    found = []
    for kind, mode in kinds.items():
        file = io.BytesIO()
        image.convert(mode).save(file, kind, **({"exif": exif} if kind in ("PNG", "JPEG") else {}))
        found.append(file.getvalue())
    return found


@tried(500)
@given(st.sampled_from(pictures()).flatmap(spliced) | st.binary(max_size=100))
def test_images(content: bytes) -> None:
    """What is taken can be read by everyone who reads images; what is not says why."""
    plain = taken(lambda: plain_image("a.png", content), "a.png: ")
    assert plain is None or Image.open(io.BytesIO(plain)).size
