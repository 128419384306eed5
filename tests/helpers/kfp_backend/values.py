"""Parameter values: their types, their text in a command line, their text in a file."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend.spec import SpecError

_TYPES = pb.ParameterType.ParameterTypeEnum
_KINDS = {
    "STRING": "string_value",
    "NUMBER_INTEGER": "number_value",
    "NUMBER_DOUBLE": "number_value",
    "BOOLEAN": "bool_value",
    "LIST": "list_value",
    "STRUCT": "struct_value",
    "TASK_FINAL_STATUS": "struct_value",
}


def type_name(spec: Any) -> str:
    """The name of a parameter's type, for example NUMBER_DOUBLE."""
    return str(_TYPES.Name(spec.parameter_type))


def to_value(value: Any) -> Value:
    """A Python value as the message that KFP passes."""
    message = Value()
    json_format.Parse(json.dumps(value), message)
    return message


def to_python(value: Value) -> Any:
    """The inverse of `to_value`; a number without fraction is an int."""
    return whole_numbers(json_format.MessageToDict(value))


def whole_numbers(content: Any) -> Any:
    """JSON content in which every number without fraction is an int, as Go's JSON writes it."""
    if isinstance(content, dict):
        return {key: whole_numbers(each) for key, each in content.items()}
    if isinstance(content, list):
        return [whole_numbers(each) for each in content]
    if isinstance(content, float) and content.is_integer():
        return int(content)
    return content


def check_type(name: str, value: Value, spec: Any) -> None:
    """Compare a value with what a component declares.

    Raises:
      SpecError: Another type, or not one of the literals.
    """
    expected = type_name(spec)
    if expected not in _KINDS:
        raise SpecError(f"parameter {name!r} has the type {expected}, which is not known")
    actual = value.WhichOneof("kind")
    if actual != _KINDS[expected]:
        raise SpecError(f"parameter {name!r} must be {expected}, got {actual} {to_python(value)!r}")
    if expected == "NUMBER_INTEGER" and not value.number_value.is_integer():
        raise SpecError(f"parameter {name!r} must be {expected}, got {value.number_value!r}")
    literals = [to_python(each) for each in getattr(spec, "literals", ())]
    if literals and to_python(value) not in literals:
        raise SpecError(f"parameter {name!r} must be one of {literals}, got {to_python(value)!r}")


def to_text(value: Value) -> str:
    """A value as it appears in a command line."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "number_value":
        # Never with an exponent, never with a fraction that is zero.
        text = format(Decimal(repr(value.number_value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind in ("list_value", "struct_value"):
        return json.dumps(to_python(value), separators=(",", ":"))
    return ""


def from_text(name: str, text: str, spec: Any) -> Value:
    """What a component has written into the file of an output parameter.

    Raises:
      SpecError: The text is none of the declared type.
    """
    expected = type_name(spec)
    try:
        if expected == "STRING":
            value = Value(string_value=text)
        elif expected == "NUMBER_INTEGER":
            value = Value(number_value=int(text.strip()))
        elif expected == "NUMBER_DOUBLE":
            value = Value(number_value=float(text.strip()))
        elif expected == "BOOLEAN":
            # The words that Go's strconv.ParseBool knows.
            words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
            value = Value(bool_value=words[text.strip().lower()])
        else:
            value = to_value(json.loads(text))
    except (ValueError, KeyError) as error:
        raise SpecError(f"output parameter {name!r} must be {expected}, got {text!r}") from error
    check_type(name, value, spec)
    return value
