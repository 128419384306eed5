"""What the inputs of a TFLite file are, each in one sentence for whoever feeds the file."""

from __future__ import annotations

from modules.data.spec import DataSpec, InputSpec
from modules.settings import CategoryFeature, ImageFeature, NumericFeature, TextFeature

_RESIZED = {
    "stretch": "stretched to this size",
    "pad": "resized in proportion, with black borders",
    "crop": "resized in proportion and cut from the center",
}


def describe_input(each: InputSpec, spec: DataSpec) -> str:
    """One sentence: what the input holds, and how the raw feature becomes it."""
    settings = spec.features.get(each.feature)
    if isinstance(settings, ImageFeature) or each.kind == "image":
        return _image(each, settings)
    if isinstance(settings, NumericFeature):
        return _number(each, settings)
    if isinstance(settings, CategoryFeature):
        return _category(each, settings)
    if isinstance(settings, TextFeature):
        return _text(each, settings)
    return f"The feature {each.name} as the preprocessing_fn makes it."


def _image(each: InputSpec, settings: object) -> str:
    height, width, channels = each.shape
    values = "one gray value" if channels == 1 else "red, green and blue"
    how = f", {_RESIZED[settings.resize]}" if isinstance(settings, ImageFeature) else ""
    return (
        f"The image {each.feature} as raw pixels, not scaled: {height} rows of {width} pixels from "
        f"the top left{how}, each {values} from 0 to 255."
    )


def _number(each: InputSpec, settings: NumericFeature) -> str:
    if each.name == f"{each.feature}_missing":
        return f"1.0 where {each.feature} is missing, else 0.0."
    what = {
        "log": f"log(1 + {each.feature})",
        "quantile": f"The rank of {each.feature} among the training examples, from 0 to 1",
    }.get(settings.scale, f"The number {each.feature}, not scaled")
    return f"{what}; {each.mean:.7g} where it is missing."


def _category(each: InputSpec, settings: CategoryFeature) -> str:
    many = settings.max_values > 1
    what = f"The ids of up to {settings.max_values} values of" if many else "The id of"
    return f"{what} {each.feature}: {_ids(settings.oov_buckets, 'padding' if many else 'missing')}"


def _text(each: InputSpec, settings: TextFeature) -> str:
    return (
        f"The ids of the first {settings.length} {settings.tokens} of {each.feature}: "
        f"{_ids(1, 'padding')}"
    )


def _ids(buckets: int, zero: str) -> str:
    unknown = "1" if buckets == 1 else f"1 to {buckets}"
    return f"0 is {zero}, {unknown} unknown, and the vocabulary's lines follow in their order."
