"""Which kind a feature is taken for, and what is refused before anything is transformed."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from modules.data.features.plan import data_spec, plan_features
from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import Dataset, OutputSpec
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings, ImageFeature

DATASET = Dataset(
    output=OutputSpec(task="classification", size=3, classes=("a", "b", "c")),
    class_counts={"train": {"a": 50, "b": 25, "c": 25}},
)


def numbers(name: str, **found: Any) -> FeatureStatistics:
    return FeatureStatistics(
        **{"name": name, "type": "float", "examples": 100, "maximum": 9.0, **found}
    )


def strings(name: str, **found: Any) -> FeatureStatistics:
    return FeatureStatistics(
        **{"name": name, "type": "string", "examples": 100, "unique": 7, **found}
    )


def plan(*features: FeatureStatistics, **data: Any) -> Any:
    settings = DataSettings.model_validate({"source": "csv", "label": "y", **data})
    return plan_features(settings, DATASET, {each.name: each for each in features})


def refused(*features: FeatureStatistics, **data: Any) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        plan(*features, **data)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("found", "settings"),
    [
        (numbers("x"), {"kind": "numeric", "scale": "standard"}),
        (numbers("x", type="integer"), {"kind": "numeric"}),
        (numbers("x", fewest_values=3, most_values=3), {"kind": "numeric"}),
        (
            numbers("x", type="integer", fewest_values=1, most_values=4),
            {"kind": "category", "max_values": 4},
        ),
        (strings("x"), {"kind": "category", "max_values": 1}),
        (strings("x", most_values=5), {"kind": "category", "max_values": 5}),
        (
            strings("x", unique=90, average_length=60.0),
            {"kind": "text", "tokens": "words", "length": 32},
        ),
        (strings("x", unique=90, average_length=9000.0), {"kind": "text", "length": 512}),
        # Long but few: names of things.
        (strings("x", average_length=60.0), {"kind": "category"}),
    ],
)
def test_kinds_by_statistics(found: FeatureStatistics, settings: dict[str, Any]) -> None:
    (feature,) = plan(found).values()
    assert settings.items() <= feature.settings.model_dump().items()


def test_what_is_of_no_use_is_left_out_and_named(caplog: Any) -> None:
    caplog.set_level(logging.WARNING)
    made = plan(
        numbers("x"),
        numbers("always", minimum=9.0),
        strings("never", missing=100),
        strings("serial", unique=99, average_length=8.0),
        numbers("ragged", fewest_values=1, most_values=2),
        numbers("label"),
        strings("example_id"),
        numbers("customer"),
        numbers("secret"),
        group="customer",
        exclude=["secret"],
    )
    assert list(made) == ["x"]
    named = {message.partition(" ")[0] for message in caplog.messages}
    assert named == {"always", "never", "serial", "ragged"}


def test_only_what_is_named_is_used() -> None:
    made = plan(numbers("x"), numbers("z"), features={"z": {"kind": "numeric"}})
    assert list(made) == ["z"]


@pytest.mark.parametrize(
    ("found", "feature", "words"),
    [
        (numbers("x"), {"kind": "text"}, "must be one text per example"),
        (numbers("x"), {"kind": "category"}, "its values are floats; set kind: numeric"),
        (strings("x", common=("red",)), {"kind": "numeric"}, "texts such as 'red'"),
        (numbers("x", minimum=-1.0), {"kind": "numeric", "scale": "log"}, "its least value is -1"),
        (numbers("x", minimum=9.0), {"kind": "numeric"}, "has one value in all of the 100"),
        (strings("x", missing=3), {"kind": "image", "size": 8}, "with 3 missing"),
        (numbers("x", most_values=2), {"kind": "numeric"}, "got 1 to 2"),
    ],
)
def test_a_kind_that_does_not_fit(
    found: FeatureStatistics, feature: dict[str, Any], words: str
) -> None:
    line = refused(found, features={"x": feature})
    assert words in line and line.startswith("data.features.x")


def test_a_feature_that_is_not_there() -> None:
    line = refused(numbers("width"), features={"widht": {"kind": "numeric"}})
    assert "did you mean 'width'?" in line and "the features are width" in line


def test_nothing_to_learn_from() -> None:
    assert "at least one feature" in refused(numbers("x", minimum=9.0))


def test_two_features_of_one_name() -> None:
    line = refused(
        numbers("x", missing=1),
        numbers("x_missing"),
        features={"x": {"kind": "numeric"}, "x_missing": {"kind": "numeric"}},
    )
    assert "'x_missing' would be made twice" in line


def test_a_text_is_no_image() -> None:
    line = refused(strings("x"), features={"x": {"kind": "image", "size": 8}})
    assert line.startswith("data.features.x must be an encoded image in every example")


@pytest.mark.parametrize("dates", [("2024-12-11", "2024-01-02T10:00"), ("31/12/2024", "1.2.24")])
def test_dates_are_named_and_not_taken(dates: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tfx_distill"):
        made = plan(strings("day", common=dates), strings("x", common=("red", "2024-12-11")))
    assert set(made) == {"x"}
    assert f"day is not used: its values are dates such as {dates[0]}; data.time" in caplog.text
    # Whoever says so has them.
    chosen = {"day": {"kind": "category"}}
    assert set(plan(strings("day", common=dates), features=chosen)) == {"day"}


@pytest.mark.parametrize(
    ("name", "maximum", "used"),
    [
        ("PassengerId", 891.0, False),
        ("order_id", 5e6, False),
        ("Unnamed: 0", 99.0, False),
        ("store_id", 12.0, True),
        ("paid", 891.0, True),
        ("price", 891.0, True),
    ],
)
def test_row_numbers_are_not_learned(name: str, maximum: float, used: bool) -> None:
    made = plan(numbers(name, type="integer", maximum=maximum), numbers("x"))
    assert (name in made) == used


def test_the_size_of_images_is_what_is_usual_for_them() -> None:
    dataset = DATASET.model_copy(
        update={"kinds": {"photo": "image"}, "image_sizes": {"photo": (28, 1)}}
    )
    settings = DataSettings(source="tfrecord", label="y")
    made = plan_features(settings, dataset, {"photo": strings("photo")})
    assert made["photo"].settings == ImageFeature(size=28, channels=1)


def test_an_image_needs_a_size() -> None:
    settings = DataSettings(source="tfrecord", label="y")
    dataset = DATASET.model_copy(update={"kinds": {"photo": "image"}})
    with pytest.raises(ConfigError, match=r"data.features.photo must be set for images"):
        plan_features(settings, dataset, {"photo": strings("photo")})


def test_weights_of_classes() -> None:
    def weights(**data: Any) -> Any:
        settings = DataSettings.model_validate({"source": "csv", "label": "y", **data})
        return data_spec({}, settings, DATASET).class_weights

    assert weights() == ()
    assert weights(class_weights="auto") == pytest.approx((2 / 3, 4 / 3, 4 / 3))
    assert weights(class_weights={"b": 3}) == (1, 3, 1)
    with pytest.raises(ConfigError, match=r"there is no class 'd'"):
        weights(class_weights={"d": 3})
