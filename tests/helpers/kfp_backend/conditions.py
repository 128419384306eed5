"""The part of CEL (Common Expression Language) in which compilers write trigger conditions.

Literals, `inputs`, member and index access, `! - + == != < <= > >= && ||`, parentheses, and the
conversions `int`, `double`, `string`. Anything else of the language is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values
from kfp_backend.spec import SpecError

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<symbol>&&|\|\||==|!=|<=|>=|[-+!<>().,\[\]])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


class ConditionError(SpecError):
    """A condition is not in the known part of CEL, or cannot be evaluated."""


def holds(condition: str, executor_input: pb.ExecutorInput) -> bool:
    """Evaluate a condition on the inputs of its task.

    Raises:
      ConditionError: Not in the known part of CEL, a missing key, types that do not compare, or
        no truth value.
    """
    names = json_format.MessageToDict(
        executor_input,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    result = _evaluate(_Parser(condition).parse(), names, condition)
    if not isinstance(result, bool):
        raise ConditionError(f"the condition {condition!r} must be true or false, not {result!r}")
    return result


class _Parser:
    """Recursive descent; a node is a tuple of its operation and operands."""

    def __init__(self, text: str):
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if not match:
                raise self._error(f"{text[position:].strip()[:20]!r} is not understood")
            assert match.lastgroup
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def parse(self) -> Any:
        node = self._either()
        if self._tokens:
            raise self._error(f"{self._tokens[0][1]!r} is not understood")
        return node

    def _error(self, problem: str) -> ConditionError:
        return ConditionError(f"in the condition {self._text!r} {problem}")

    def _accept(self, *symbols: str) -> str | None:
        if self._tokens and self._tokens[0] in [("symbol", symbol) for symbol in symbols]:
            return self._tokens.pop(0)[1]
        return None

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            raise self._error(f"{symbol!r} is missing")

    def _chain(self, operand: Callable[[], Any], *symbols: str) -> Any:
        node = operand()
        while symbol := self._accept(*symbols):
            node = (symbol, node, operand())
        return node

    def _either(self) -> Any:
        return self._chain(self._both, "||")

    def _both(self) -> Any:
        return self._chain(self._relation, "&&")

    def _relation(self) -> Any:
        return self._chain(self._sum, "==", "!=", "<=", ">=", "<", ">")

    def _sum(self) -> Any:
        return self._chain(self._unary, "+")

    def _unary(self) -> Any:
        if symbol := self._accept("!", "-"):
            return ("not" if symbol == "!" else "minus", self._unary())
        node = self._primary()
        while symbol := self._accept(".", "["):
            if symbol == ".":
                node = ("member", node, self._take("name"))
            else:
                node = ("index", node, self._either())
                self._expect("]")
        return node

    def _take(self, kind: str) -> str:
        if not self._tokens or self._tokens[0][0] != kind:
            raise self._error(f"a {kind} is missing")
        return self._tokens.pop(0)[1]

    def _primary(self) -> Any:
        if self._accept("("):
            node = self._either()
            self._expect(")")
            return node
        if not self._tokens:
            raise self._error("the end is missing")
        kind, text = self._tokens.pop(0)
        if kind == "number":
            return ("value", float(text) if re.search("[.eE]", text) else int(text))
        if kind == "string":
            unescaped = re.sub(r"\\(.)", lambda found: self._unescape(found[1]), text[1:-1])
            return ("value", unescaped)
        if kind == "name" and text in ("true", "false", "null"):
            return ("value", {"true": True, "false": False, "null": None}[text])
        if kind == "name" and self._accept("("):
            if text not in ("int", "double", "string"):
                raise self._error(f"the function {text!r} is not known")
            node = (text, self._either())
            self._expect(")")
            return node
        if kind == "name":
            return ("name", text)
        raise self._error(f"{text!r} is not understood")

    def _unescape(self, letter: str) -> str:
        if letter not in _ESCAPES:
            raise self._error(f"the escape \\{letter} is not known")
        return _ESCAPES[letter]


def _evaluate(node: Any, names: dict[str, Any], condition: str) -> Any:
    operation, *operands = node

    def fail(problem: str) -> ConditionError:
        return ConditionError(f"the condition {condition!r} cannot be evaluated: {problem}")

    if operation == "value":
        return operands[0]
    if operation == "name":
        if operands[0] not in names:
            raise fail(f"there is no {operands[0]!r}")
        return names[operands[0]]
    if operation in ("&&", "||"):
        decisive = operation == "||"
        for operand in operands:
            value = _evaluate(operand, names, condition)
            if not isinstance(value, bool):
                raise fail(f"{value!r} is no truth value")
            if value is decisive:
                return decisive
        return not decisive
    if operation == "member":
        operands[1] = ("value", operands[1])
    found = [_evaluate(operand, names, condition) for operand in operands]
    try:
        return _apply(operation, found)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise fail(f"{operation} of {found!r} ({type(error).__name__}: {error})") from error


def _apply(operation: str, operands: list[Any]) -> Any:
    first = operands[0]
    if operation in ("member", "index"):
        return first[operands[1]]
    if operation == "not" and isinstance(first, bool):
        return not first
    if operation == "minus" and _kind(first) == "number":
        return -first
    if operation == "int":
        return int(first)
    if operation == "double":
        return float(first)
    if operation == "string":
        return values.to_text(values.to_value(first))
    if operation in ("==", "!="):
        same = _kind(first) == _kind(operands[1]) and first == operands[1]
        return same if operation == "==" else not same
    if operation in ("+", *_ORDER) and _kind(first) == _kind(operands[1]) in ("number", "str"):
        return first + operands[1] if operation == "+" else _ORDER[operation](*operands)
    raise TypeError("these types do not go together")


def _kind(value: Any) -> str:
    """CEL's types as far as they matter here: a truth value is no number."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__
