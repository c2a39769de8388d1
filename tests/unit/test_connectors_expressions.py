"""Compiled expressions return the same result or error as JMESPath's interpreter, for any expression and data."""

from typing import Any

import jmespath
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from jmespath.visitor import Options

from connectors.mapping.expressions import compile_expression
from connectors.mapping.functions import Functions
from schemas.errors import ConfigError

NAMES = ["a", "b", "c"]
OPTIONS = Options(custom_functions=Functions())
CONSTANTS = ["''", "'x'", "'1'", "`null`", "`false`", "`true`", "`0`", "`1.5`", "`[]`", "`{}`", '`{"a": [0]}`', '`["x", 1]`']
FALSE_OR_ZERO: list[Any] = [None, False, True, 0, 0.0, 1, -1, "", " ", "x", "a@b", [], {}, [0], {"a": ""}]
STEPS = st.sampled_from([*[f".{name}" for name in NAMES], "[0]", "[1]", "[-1]", "[-3]", ".[a, b]", ".{a: a}", "[]", "[*].b"])
FUNCTIONS_OF_ONE = ["id", "number", "email", "html_text", "to_string", "length", "type", "not_null", "keys", "sort"]
FUNCTIONS_OF_TWO = ["lookup", "iso", "join", "contains", "starts_with", "not_null"]


def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Build expressions of smaller ones: most parts are compiled, some are left to the interpreter."""
    return st.one_of(
        st.builds("{} || {}".format, inner, inner),
        st.builds("({} && {})".format, inner, inner),
        st.builds("({}){}".format, inner, STEPS),
        st.builds("{} | {}".format, inner, inner),
        st.builds("{}({})".format, st.sampled_from(FUNCTIONS_OF_ONE), inner),
        st.builds("{}({}, {})".format, st.sampled_from(FUNCTIONS_OF_TWO), inner, inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(["==", "<"]), inner),
        st.builds("!{}".format, inner),
    )


PATHS = st.builds(lambda name, steps: name + "".join(steps), st.sampled_from(NAMES), st.lists(STEPS, max_size=3))
EXPRESSIONS = st.recursive(PATHS | st.sampled_from([*CONSTANTS, "@", "[0]"]), combine, max_leaves=6)
VALUES = st.recursive(
    st.sampled_from(FALSE_OR_ZERO),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES)) | st.dictionaries(st.sampled_from(NAMES), VALUES)


def outcome(call: Any, *arguments: Any) -> tuple[type[Any], str]:
    """Return the result with its type (0 is not false, 1 is not 1.0), or the error with its text."""
    try:
        found = call(*arguments)
    except Exception as error:  # noqa: BLE001 - any error, as long as it is the same
        return type(error), str(error)
    return type(found), repr(found)


@settings(max_examples=400)
@given(EXPRESSIONS, RECORDS)
@example("a || 'x'", {"a": 0})
@example("a || 'x'", {"a": False})
@example("a && 'x'", {"a": {}})
@example("a[-2].b", {"a": [{"b": 1}]})
@example("a.b.c", {"a": {"b": "text"}})
@example("a[0]", {"a": "text"})
@example("a.[b]", {})
def test_compiled_expression_equals_jmespath(text: str, data: dict[str, Any]) -> None:
    try:
        compiled = compile_expression(text, frozenset(NAMES), "here")
    except ConfigError:  # a wrong constant or number of arguments is found when it is compiled
        reject()
    assert outcome(compiled, data) == outcome(jmespath.search, text, data, OPTIONS)
