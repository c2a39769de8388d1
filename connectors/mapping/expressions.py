"""JMESPath expressions, compiled once.

Paths, indexes, constants, `||`, `&&` and functions of them become Python closures with the same results as JMESPath. The
interpreter of JMESPath evaluates all other parts of an expression.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.functions import TYPES_MAP
from jmespath.visitor import Options, TreeInterpreter

from connectors.mapping.functions import CALLABLE, Functions
from schemas.errors import ConfigError, RecordError

Node = Mapping[str, Any]
Expression = Callable[[Any], Any]
FUNCTIONS = Functions()
INTERPRETER = TreeInterpreter(Options(custom_functions=FUNCTIONS))
DESCENDING = frozenset(
    {"subexpression", "pipe", "projection", "filter_projection", "value_projection", "index_expression", "flatten"}
)


def compile_expression(text: str, columns: frozenset[str], where: str) -> Expression:
    """Return the expression as a function of a record's data; that function raises RecordError for data that does not fit.

    Raises ConfigError with `where` for an expression that cannot work: wrong syntax, an unknown function, or a column that is not
    in `columns`.
    """
    try:
        tree = cast("Node", jmespath.compile(text).parsed)
    except JMESPathError as error:
        reason = str(error).splitlines()[0].rstrip(" :")
        raise ConfigError(f"{where}: not a JMESPath expression: {reason}: {text} (constants are `1` or 'text')") from None
    unknown = sorted(_columns(tree) - columns)
    if unknown:
        raise ConfigError(f"{where}: reads column {unknown[0]}, which `columns` does not list")
    try:
        _check_functions(tree)
    except RecordError as error:
        raise ConfigError(f"{where}: {error.detail}") from None
    return _compile(tree)


def _check_functions(node: Node) -> None:
    """Check every function call. Raises RecordError for an unknown function, a wrong number of arguments or a wrong constant."""
    children = [child for child in node.get("children", []) if isinstance(child, dict)]  # a slice's are numbers
    for child in children:
        _check_functions(child)
    if node["type"] != "function_expression":
        return
    name = node["value"]
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        ours = ", ".join(sorted(CALLABLE))
        raise RecordError("bad_mapping", f"there is no function {name}(); available are {ours} and those of JMESPath")
    if name in CALLABLE and len(children) != len(known["signature"]):
        raise RecordError("bad_mapping", f"{name}() takes {len(known['signature'])} arguments, not {len(children)}")
    if name in CALLABLE and all(child["type"] == "literal" for child in children[1:]):
        CALLABLE[name](None, *[child["value"] for child in children[1:]])


def _compile(node: Node) -> Expression:
    return CLOSURES.get(node["type"], _interpret)(node)


def _interpret(node: Node) -> Expression:
    return lambda data: INTERPRETER.visit(cast("Any", node), data)


def _literal(node: Node) -> Expression:
    value = node["value"]
    return lambda data: value


def _field(node: Node) -> Expression:
    name = node["value"]
    return lambda data: data.get(name) if isinstance(data, dict) else None


def _index(node: Node) -> Expression:
    number = node["value"]
    return lambda data: data[number] if isinstance(data, list) and -len(data) <= number < len(data) else None


def _path(node: Node) -> Expression:
    if all(child["type"] == "field" for child in node["children"]):
        return _fields([child["value"] for child in node["children"]])
    steps = [_compile(child) for child in node["children"]]

    def path(data: Any) -> Any:
        for step in steps:
            data = step(data)
        return data

    return path


def _fields(names: Sequence[str]) -> Expression:
    def path(data: Any) -> Any:
        for name in names:
            if not isinstance(data, dict):
                return None
            data = data.get(name)
        return data

    return path


def _or(node: Node) -> Expression:
    left, right = map(_compile, node["children"])

    def evaluate_either(data: Any) -> Any:
        value = left(data)
        return right(data) if _is_false(value) else value

    return evaluate_either


def _and(node: Node) -> Expression:
    left, right = map(_compile, node["children"])

    def evaluate_both(data: Any) -> Any:
        value = left(data)
        return value if _is_false(value) else right(data)

    return evaluate_both


def _is_false(value: Any) -> bool:
    """Return whether JMESPath treats the value as false: null, false and empty values, but no number."""
    return not value and (value is False or value in (None, "", [], {}))


def _call(node: Node) -> Expression:
    name, arguments = node["value"], [_compile(child) for child in node["children"]]
    if name not in CALLABLE:
        return lambda data: FUNCTIONS.call_function(name, [argument(data) for argument in arguments])
    function = CALLABLE[name]
    if len(arguments) == 1:
        only = arguments[0]
        return lambda data: function(only(data))
    if len(arguments) == 2:
        first, second = arguments
        return lambda data: function(first(data), second(data))
    return lambda data: function(*[argument(data) for argument in arguments])


CLOSURES: Mapping[str, Callable[[Node], Expression]] = {
    "literal": _literal,
    "field": _field,
    "index": _index,
    "subexpression": _path,
    "index_expression": _path,
    "pipe": _path,
    "or_expression": _or,
    "and_expression": _and,
    "function_expression": _call,
}


def _columns(node: Node) -> set[str]:
    """Return the top-level columns that an expression reads; a field after a dot belongs to the column before it."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return {node["value"]}
    if kind == "expref":
        return set()
    if kind in DESCENDING:
        children = children[:1]
    return set().union(*(_columns(child) for child in children)) if children else set()


def evaluate(expression: Expression, data: dict[str, Any], field: str) -> Any:
    """Return the value of the expression for one record. Raises RecordError with `field`."""
    try:
        return expression(data)
    except RecordError as error:
        raise RecordError(error.reason, f"field {field}: {error.detail}") from None
    except JMESPathTypeError as error:
        given = TYPES_MAP.get(error.actual_type, error.actual_type)
        expected = " or ".join(error.expected_types)
        detail = f"field {field}: {error.function_name}() expects {expected} but received {given}"
        raise RecordError("missing_field" if given == "null" else "wrong_type", detail) from None
    except Exception as error:  # noqa: BLE001 - JMESPath raises arbitrary errors for odd data
        raise RecordError("bad_mapping", f"field {field}: {type(error).__name__} in its expression") from None
