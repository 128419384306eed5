"""The part of CEL that trigger conditions are written in."""

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from kfp_backend import ConditionError
from kfp_backend.conditions import holds

INPUT = json_format.ParseDict(
    {
        "inputs": {
            "parameterValues": {"n": 3, "x": 2.5, "word": "it's", "yes": True, "digits": "12"},
            "artifacts": {
                "model": {
                    "artifacts": [
                        {"uri": "gs://b/m", "metadata": {"blessed": 1, "name": "a"}, "name": "7"}
                    ]
                }
            },
        }
    },
    pb.ExecutorInput(),
)
MODEL = "inputs.artifacts['model'].artifacts[0]"
N, X, WORD = (f"inputs.parameter_values['{name}']" for name in ("n", "x", "word"))


@pytest.mark.parametrize(
    "condition",
    [
        # As TFX writes them.
        f"({MODEL}.metadata['blessed'] == 1.0)",
        f"!(({MODEL}.metadata['blessed'] < 1.0))",
        f"(({MODEL}.uri + '/x') == 'gs://b/m/x') && ({MODEL}.metadata['name'] == 'a')",
        # As the KFP SDK writes them.
        f"int({N}) > 2",
        f"!({X} <= 2)",
        "inputs.parameter_values['yes'] == true",
        f"{WORD} == 'it\\'s'",
        f'{WORD} != "its" && {N} >= -1',
        "double(inputs.parameter_values['digits']) == 12.0 || false",
        f"string({N}) == '3'",
        f"false || {N} == 3 && {X} == 2.5",
        # What is of another type is never equal; a truth value is no number.
        f"{N} != '3'",
        "inputs.parameter_values['yes'] != 1",
        # What decides already hides what cannot be evaluated.
        "true || inputs.parameter_values['missing'] == 1",
    ],
)
def test_conditions_that_hold(condition: str) -> None:
    assert holds(condition, INPUT)
    assert not holds(f"!({condition})", INPUT)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("inputs.parameter_values['missing'] == 1", "cannot be evaluated"),
        (f"{N} < 'a'", "do not go together"),
        (f"{N}", "must be true or false, not 3"),
        (f"{N} && true", "3.0 is no truth value"),
        ("unknown == 1", "there is no 'unknown'"),
        ("1 == ", "the end is missing"),
        ("(1 == 1", "'\\)' is missing"),
        ("1 == 1)", "'\\)' is not understood"),
        ("has(inputs.artifacts)", "the function 'has' is not known"),
        ("[1].all(x, x > 0)", "'\\[' is not understood"),
        ("1 == 1 ? true : false", "'. true : false' is not understood"),
        ("'\\q' == 'q'", "the escape"),
    ],
)
def test_what_is_not_understood_is_refused(condition: str, message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        holds(condition, INPUT)
