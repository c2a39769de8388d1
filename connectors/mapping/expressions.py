"""JMESPath expressions compiled once: what most mappings consist of (paths, constants, `||`, `&&`, functions of them) becomes
plain Python closures with the same results; the rest is left to JMESPath's own interpreter, each time it is met in a tree.
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
    """The function of one record's data that `text` stands for.

    It raises RecordError for data that does not fit. Raises ConfigError naming `where` for an expression that cannot
    work: bad syntax, an unknown function, or a column that is not among `columns`.
    """
    try:
        tree = cast("Node", jmespath.compile(text).parsed)
    except JMESPathError as error:
        said = str(error).splitlines()[0].rstrip(" :")
        raise ConfigError(f"{where}: not a JMESPath expression: {said}: {text} (constants are `1` or 'text')") from None
    unknown = sorted(_columns(tree) - columns)
    if unknown:
        raise ConfigError(f"{where}: reads column {unknown[0]}, which `columns` does not list")
    try:
        _check_functions(tree)
    except RecordError as error:
        raise ConfigError(f"{where}: {error.detail}") from None
    return _closure(tree)


def _check_functions(node: Node) -> None:
    """Raises RecordError for a function that does not exist, has a wrong number of arguments or wrong constants."""
    children = [child for child in node.get("children", []) if isinstance(child, dict)]  # a slice's are numbers
    for child in children:
        _check_functions(child)
    if node["type"] != "function_expression":
        return
    name = node["value"]
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        ours = ", ".join(sorted(CALLABLE))
        raise RecordError("bad_mapping", f"there is no function {name}(); there are {ours} and JMESPath's own")
    if name in CALLABLE and len(children) != len(known["signature"]):
        raise RecordError("bad_mapping", f"{name}() takes {len(known['signature'])} arguments, not {len(children)}")
    if name in CALLABLE and all(child["type"] == "literal" for child in children[1:]):
        CALLABLE[name](None, *[child["value"] for child in children[1:]])


def _closure(node: Node) -> Expression:
    return CLOSURES.get(node["type"], _interpreted)(node)


def _interpreted(node: Node) -> Expression:
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
    steps = [_closure(child) for child in node["children"]]

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
    left, right = map(_closure, node["children"])

    def either(data: Any) -> Any:
        found = left(data)
        return right(data) if _false(found) else found

    return either


def _and(node: Node) -> Expression:
    left, right = map(_closure, node["children"])

    def both(data: Any) -> Any:
        found = left(data)
        return found if _false(found) else right(data)

    return both


def _false(value: Any) -> bool:
    """JMESPath's idea of it: null, false, and what is empty, but no number."""
    return not value and (value is False or value in (None, "", [], {}))


def _call(node: Node) -> Expression:
    name, arguments = node["value"], [_closure(child) for child in node["children"]]
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
    """The top-level columns an expression reads; what follows a dot belongs to the column before it."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return {node["value"]}
    if kind == "expref":
        return set()
    if kind in DESCENDING:
        children = children[:1]
    return set().union(*(_columns(child) for child in children)) if children else set()


def evaluate(expression: Expression, data: dict[str, Any], field: str) -> Any:
    """The expression's value for one record. Raises RecordError naming `field`."""
    try:
        return expression(data)
    except RecordError as error:
        raise RecordError(error.reason, f"field {field}: {error.detail}") from None
    except JMESPathTypeError as error:
        given = TYPES_MAP.get(error.actual_type, error.actual_type)
        expected = " or ".join(error.expected_types)
        detail = f"field {field}: {error.function_name}() expects {expected} and was given {given}"
        raise RecordError("missing_field" if given == "null" else "wrong_type", detail) from None
    except Exception as error:  # noqa: BLE001 - JMESPath raises whatever odd data leads to
        raise RecordError("bad_mapping", f"field {field}: {type(error).__name__} in its expression") from None
