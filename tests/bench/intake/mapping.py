"""Cost of compiled mapping expressions (`connectors/mapping/expressions.py`), compared with JMESPath's interpreter."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jmespath
from jmespath.visitor import Options, TreeInterpreter

from connectors.intake.connector import DEFAULTS
from connectors.mapping.expressions import compile_expression
from connectors.mapping.functions import Functions

TIMES = 20_000
PROPERTIES = {"sku": "p1", "price": 12.5}
EVENT = {
    "type": "track",
    "event_type": "track.product_viewed",
    "event": "Product Viewed",
    "userId": "u1",
    "messageId": "m1",
    "timestamp": "2026-11-22T08:00:00.000Z",
    "properties": PROPERTIES,
    "more": PROPERTIES,
    "context": {"library": {"name": "load", "version": "1"}},
}


def ratio() -> float:
    """Return the ratio of the interpreter's processor time to that of the closures, for the mapping of Segment's events."""
    mapping = DEFAULTS["segment"]
    groups = [{name: group} if isinstance(group, str) else group for name, group in mapping["map"].items()]
    texts = [text for group in groups for text in group.values()]
    compiled = [compile_expression(text, frozenset(mapping["columns"]), "map") for text in texts]
    interpreter = TreeInterpreter(Options(custom_functions=Functions()))
    trees = [jmespath.compile(text).parsed for text in texts]
    interpreted = [partial(interpreter.visit, tree) for tree in trees]
    return seconds(interpreted) / seconds(compiled)


def seconds(expressions: Sequence[Callable[[Any], Any]]) -> float:
    """Return the processor seconds of this thread for all expressions of `TIMES` events."""
    begin = time.thread_time()
    for _ in range(TIMES):
        for expression in expressions:
            expression(EVENT)
    return time.thread_time() - begin
