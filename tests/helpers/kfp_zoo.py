"""A pipeline of small components in which each way that KFP hands something on occurs once.

KFP reads annotations as types, so they must not be texts: no `from __future__ import annotations`.
"""

import json

from kfp import dsl
from kfp_components import sh

# As the last argument of every command, so that it is seen what the container was given.
_GIVEN = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER
_SAID = json.dumps(
    {
        "parameterValues": {"length": 4},
        "artifacts": {
            "data": {
                "artifacts": [
                    {
                        "metadata": {
                            "rows": 2,
                            "share": 0.5,
                            "ok": True,
                            "names": ["a"],
                            "by_name": {"a": 1},
                            "text": "t",
                        }
                    }
                ]
            }
        },
    }
)


@dsl.container_component
def write(text: str, data: dsl.Output[dsl.Dataset]):
    return sh('mkdir "$2" "$2/empty"; printf %s "$1" > "$2/text"', text, data.path, _GIVEN)


@dsl.container_component
def describe(data: dsl.Output[dsl.Dataset], length: dsl.OutputPath(int)):
    """Says what it has made in the executor's own output file."""
    script = 's/.*"outputFile": *"\\([^"]*\\)".*/\\1/'
    return sh(f'printf %s "$2" > "$(printf %s "$1" | sed \'{script}\')"', _GIVEN, _SAID)


@dsl.container_component
def measure(
    first: dsl.Input[dsl.Dataset],
    second: dsl.Input[dsl.Dataset],
    length: dsl.OutputPath(int),
    share: dsl.OutputPath(float),
    flag: dsl.OutputPath(bool),
    names: dsl.OutputPath(list),
):
    script = (
        'ls "$1" | wc -l > "$3"; echo 0.25 > "$4"; echo true > "$5"; echo \'["a", 1]\' > "$6"; '
        'test ! -e "$2"'
    )
    return sh(script, first.path, second.path, length, share, flag, names, first.uri, _GIVEN)


@dsl.container_component
def show(
    text: str,
    number: float,
    whole: int,
    flag: bool,
    several: list,
    mapping: dict,
    left_out: str = "default",
    absent: str = None,  # noqa: RUF013
):
    return sh("true", text, number, whole, flag, several, mapping, left_out, _GIVEN)


@dsl.pipeline(name="zoo")
def zoo(number: float = 1e-7, mapping: dict = {"a": [1.5, "b c"]}):  # noqa: B006
    made = write(text="a 'b'")
    measured = measure(first=made.outputs["data"], second=describe().outputs["data"])
    show(
        text=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        number=number,
        whole=measured.outputs["length"],
        flag=measured.outputs["flag"],
        several=measured.outputs["names"],
        mapping=mapping,
    )
    again = show(
        text="plain",
        number=measured.outputs["share"],
        whole=12345678901,
        flag=False,
        several=[],
        mapping={},
        left_out="given",
    )
    again.set_retry(2)
