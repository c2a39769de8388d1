"""Readers of Avro records, each a Python function written for one schema: half the time of fastavro's general one.

They know what `schemas/avro.py` derives and no more: records, arrays, maps, optional fields (null first), strings, bytes, fixed,
longs, doubles and booleans. `schemas/writer.py` writes; an older version of a schema is read by fastavro.
"""

from collections.abc import Callable
from itertools import count
from struct import Struct
from typing import Any

Reader = Callable[[bytes, int], tuple[Any, int]]
LONGEST_VARINT = 64


def compiled(schema: Any) -> Reader:
    """The function (bytes, where to begin) -> (value, where it ends) of a schema in JSON form.

    For broken bytes it raises IndexError, EOFError, ValueError or struct.error. Raises KeyError for a schema it does not know.
    """
    source = _Source()
    source.read(schema, "value", 1)
    lines = ["def read(b, i):", " end = len(b)", *source.lines, " if i > end: raise EOFError", " return value, i"]
    names: dict[str, Any] = {"long": _rest, "double": Struct("<d").unpack_from}
    exec("\n".join(lines), names)  # noqa: S102 - of our own frozen schemas, as dataclasses write their methods
    reader: Reader = names["read"]
    return reader


def _rest(b: bytes, i: int, first: int) -> tuple[int, int]:
    """The rest of a varint whose first byte says that it goes on. Raises ValueError where it does not end."""
    number = first & 127
    for shift in range(7, LONGEST_VARINT, 7):
        byte = b[i]
        i += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, i
    raise ValueError("a number of more than ten bytes")


def kind_of(schema: Any) -> str:
    """What stands at the head of a schema: a type, or the name of one that was spelled out before."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"]) if isinstance(schema, dict) else str(schema).removeprefix("touchline.")


class _Source:
    """Lines that read `b` from `i` on: each method adds those that leave a value in the variable `into`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._number = count()
        self._named: dict[str, Any] = {}

    def read(self, schema: Any, into: str, depth: int) -> None:
        kind = kind_of(schema)
        if kind in self._named:
            self.read(self._named[kind], into, depth)
            return
        if isinstance(schema, dict) and "name" in schema:
            self._named[schema["name"]] = schema
        getattr(self, f"_{kind}", self._unknown)(schema, into, depth)

    def _add(self, depth: int, *lines: str) -> None:
        self.lines += [" " * depth + line for line in lines]

    def _variable(self) -> str:
        return f"v{next(self._number)}"

    def _unknown(self, schema: Any, into: str, depth: int) -> None:
        raise KeyError(f"no reader for {schema}")

    def _varint(self, depth: int) -> None:
        self._add(depth, "n = b[i]; i += 1", "if n > 127: n, i = long(b, i, n)")

    def _union(self, schema: list[Any], into: str, depth: int) -> None:
        null, other = schema
        assert null == "null"
        self._add(depth, "n = b[i]; i += 1", f"if n == 0: {into} = None", "elif n == 2:")
        self.read(other, into, depth + 1)
        self._add(depth, "else: raise ValueError('a union has two branches')")

    def _sized(self, depth: int) -> None:
        self._varint(depth)
        self._add(depth, "if n & 1: raise ValueError('a negative length')", "j = i + (n >> 1)")

    def _string(self, schema: Any, into: str, depth: int) -> None:
        self._sized(depth)
        self._add(depth, f"{into} = b[i:j].decode(); i = j")

    def _bytes(self, schema: Any, into: str, depth: int) -> None:
        self._sized(depth)
        self._add(depth, f"{into} = b[i:j]; i = j")

    def _fixed(self, schema: Any, into: str, depth: int) -> None:
        self._add(depth, f"j = i + {schema['size']}", "if j > end: raise EOFError", f"{into} = b[i:j]; i = j")

    def _long(self, schema: Any, into: str, depth: int) -> None:
        self._varint(depth)
        self._add(depth, f"{into} = (n >> 1) ^ -(n & 1)")

    def _double(self, schema: Any, into: str, depth: int) -> None:
        self._add(depth, f"{into}, = double(b, i); i += 8")

    def _boolean(self, schema: Any, into: str, depth: int) -> None:
        self._add(depth, f"{into} = b[i] != 0; i += 1")

    def _record(self, schema: Any, into: str, depth: int) -> None:
        fields = [(field["name"], field["type"], self._variable()) for field in schema["fields"]]
        for _, kind, variable in fields:
            self.read(kind, variable, depth)
        self._add(depth, f"{into} = {{{', '.join(f'{name!r}: {variable}' for name, _, variable in fields)}}}")

    def _array(self, schema: Any, into: str, depth: int) -> None:
        self._add(depth, f"{into} = []")
        item = self._variable()
        inside = self._blocks(depth)
        self.read(schema["items"], item, inside)
        self._add(inside, f"{into}.append({item})")

    def _map(self, schema: Any, into: str, depth: int) -> None:
        self._add(depth, f"{into} = {{}}")
        key, item = self._variable(), self._variable()
        inside = self._blocks(depth)
        self._string(None, key, inside)
        self.read(schema["values"], item, inside)
        self._add(inside, f"{into}[{key}] = {item}")

    def _blocks(self, depth: int) -> int:
        """The loops around an item, whose depth it returns. A negative count is followed by the block's size in bytes."""
        items = self._variable()
        self._add(depth, "while True:")
        self._varint(depth + 1)
        self._add(depth + 1, "if n == 0: break", f"{items} = (n + 1) >> 1", "if n & 1:")
        self._varint(depth + 2)
        self._add(depth + 1, f"for _ in range({items}):")
        return depth + 2
