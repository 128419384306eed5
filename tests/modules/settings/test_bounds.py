"""Every number of the configuration has bounds, and is told in words when it is outside."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

import modules.settings
from modules.data.spec import OutputSpec
from modules.errors import ConfigError
from modules.settings import Settings
from modules.settings.base import _kinds
from pipeline.config import PipelineConfig, load_config

SCHEMA = PipelineConfig.model_json_schema()
SECTIONS = [
    each
    for each in (*vars(modules.settings).values(), PipelineConfig)
    if isinstance(each, type) and issubclass(each, Settings)
]


def numbers(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema of every number that is not one of a few."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number") and not {"const", "enum"} & set(schema):
            yield place, schema
        for key, below in schema.items():
            yield from numbers(below, f"{place}/{key}")
    elif isinstance(schema, list):
        for index, below in enumerate(schema):
            yield from numbers(below, f"{place}/{index}")


def test_every_number_has_a_lower_and_an_upper_bound() -> None:
    found = dict(numbers(SCHEMA))
    assert len(found) > 70
    open_ended = [
        place
        for place, schema in found.items()
        if not {"minimum", "exclusiveMinimum"} & set(schema)
        or not {"maximum", "exclusiveMaximum"} & set(schema)
    ]
    assert open_ended == []


def test_true_is_no_number_anywhere() -> None:
    tried = 0
    for section in SECTIONS:
        for name, field in section.model_fields.items():
            kinds = set(_kinds(field.annotation))
            if not kinds & {int, float} or bool in kinds:
                continue
            for value in (True, [True, True]):
                tried += 1
                with pytest.raises(ValidationError) as caught:
                    section.model_validate({name: value})
                told = [each["msg"] for each in caught.value.errors() if each["loc"][0] == name]
                assert told == ["Value error, must be a number, got true"], (section, name)
    assert tried > 100


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("student.train.epochs=1e24", "must be a whole number from 0 to 1,000,000, got '1e24'"),
        ("student.train.epochs=1.0e+24", "must be a whole number from 0 to 1,000,000, got 1e+24"),
        ("student.train.epochs=2.5", "must be a whole number from 0 to 1,000,000, got 2.5"),
        ("student.train.epochs=.inf", "must be a whole number from 0 to 1,000,000, got inf"),
        ("student.train.epochs=[3]", "must be a whole number from 0 to 1,000,000, got [3]"),
        ("data.eval_fraction=1", "must be a number above 0 and below 1, got 1"),
        ("distill.temperature=0", "must be a number above 0 and at most 1,000, got 0"),
        ("seed=4294967296", "must be a whole number from 0 to 4,294,967,295, got 429496"),
        ("latency.blocks=-1", "must be a whole number from 2 to 10,000, got -1"),
        ("evaluate.top_k=[1]", "must be a whole number from 2 to 100,000, got 1"),
        ("distill.alpha=autos", "distill.alpha: must be a number from 0 to 1, got 'autos'"),
        (
            "data.features={image: {kind: image, size: 1000000}}",
            "image.size: must be a whole number from 1 to 4,096, got 1000000",
        ),
        ("distill.methods=[{name: dist, warmup_epochs: yes}]", "must be a number, got true"),
        (
            "distill.methods=[{name: decoupled, target_weight: 1.0e+9}]",
            "target_weight must be a number from 0 to 1,000,000, got 1000000000.0",
        ),
        (f"name={'a' * 300}", "name: must have at most 100 characters, got 'aaaa"),
        (f"student.model={'a' * 10_001}", "model: must have at most 10000 characters"),
        (
            "teacher.parameters={blocks: -1}",
            "teacher.parameters.blocks must be a whole number from 1 to 65,536, got -1",
        ),
        ("teacher.parameters={blocks: true}", "must be a whole number from 1 to 65,536, got True"),
        (
            "teacher.parameters={widths: [4, 100000]}",
            "widths must be whole numbers from 1 to 65,536, got [4, 100000]",
        ),
        ("teacher.parameters={dropout: -0.5}", "must be a number from 0 to 1, got -0.5"),
        (
            "search={students: [{parameters: {filters: [-4]}}]}",
            "search.students.0.parameters.filters must be whole numbers from 1 to 65,536",
        ),
        ("search={students: auto, budget: {trials: 0}}", "trials: must be a whole number from 1"),
    ],
)
def test_numbers_outside_are_told_in_words(override: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("digits", [override])
    message = str(caught.value)
    assert told in message
    assert "\n" not in message


def test_names_that_the_data_bring_have_no_bound() -> None:
    """A column of documents may be the label, until its number of classes is refused."""
    output = OutputSpec(task="classification", size=2, classes=("a" * 20_000, "b"))
    assert OutputSpec.model_validate_json(output.model_dump_json()) == output
