"""Compiles a Python function for each schema that reads its records in half the time of fastavro.

It supports the types that `schemas/wire/avro.py` derives: records, arrays, maps, optional fields (null first), strings, bytes,
fixed, longs, doubles and booleans. `schemas/wire/writer.py` compiles the writers. fastavro reads older schema versions.
"""

from collections.abc import Callable, Sequence
from itertools import count
from struct import Struct
from typing import Any

Reader = Callable[[bytes, int], tuple[Any, int]]
MAX_VARINT_BYTES, ONE_BYTE = 10, 127
SKIPPED = "_"


def compile_reader(schema: Any, wanted: Sequence[str] = ()) -> Reader:
    """Return the function (bytes, begin) -> (value, end) of a schema in JSON form. Raises KeyError for unsupported types.

    With `wanted`, a record becomes the tuple of these fields, with None for a field that the schema does not have; the other
    fields are checked and skipped. For damaged bytes the function raises IndexError, EOFError, ValueError or struct.error.
    """
    source = _Source()
    if wanted:
        source.read_some(schema, wanted, "value")
    else:
        source.read(schema, "value", 1)
    lines = ["def read(b, i):", " end = len(b)", *source.lines, " if i > end: raise EOFError", " return value, i"]
    names: dict[str, Any] = {"long": _rest, "length": _length, "double": Struct("<d").unpack_from}
    exec("\n".join(lines), names)  # noqa: S102 - source from our own frozen schemas, as dataclasses does it
    reader: Reader = names["read"]
    return reader


def _compile_varint_reader() -> Callable[[bytes, int, int], tuple[int, int]]:
    """Compile the function that reads the rest of a varint, without a loop. It raises ValueError beyond 64 bits."""
    lines = ["def rest(b, i, n):", " n &= 127"]
    for place in range(MAX_VARINT_BYTES - 1):
        most = 127 if place < MAX_VARINT_BYTES - 2 else 1
        lines += [f" m = b[i + {place}]; n |= (m & 127) << {7 * place + 7}", f" if m <= {most}: return n, i + {place + 1}"]
    names: dict[str, Any] = {}
    exec("\n".join([*lines, " raise ValueError('a number of more than 64 bits')"]), names)  # noqa: S102 - nothing from outside
    rest: Callable[[bytes, int, int], tuple[int, int]] = names["rest"]
    return rest


_rest = _compile_varint_reader()


def _length(b: bytes, i: int, first: int) -> tuple[int, int]:
    """Read a length; the varint holds it doubled. Raises ValueError if it is negative."""
    number, i = _rest(b, i, first) if first > ONE_BYTE else (first, i)
    if number & 1:
        raise ValueError("a negative length")
    return number, i


def kind_of(schema: Any) -> str:
    """Return the type of a schema, or the name of a type that the schema defined before."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"]) if isinstance(schema, dict) else str(schema).removeprefix("touchline.")


class _Source:
    """Source lines that read `b` from `i` on. Each method adds the lines that leave a value in the variable `into`.

    A value for SKIPPED is checked as strictly, but not built.
    """

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

    def read_some(self, schema: Any, wanted: Sequence[str], into: str) -> None:
        """Add the lines that read a record as the tuple of its wanted fields."""
        found = {field["name"]: self._variable() if field["name"] in wanted else SKIPPED for field in schema["fields"]}
        for field in schema["fields"]:
            self.read(field["type"], found[field["name"]], 1)
        self._add(1, f"{into} = ({', '.join(found.get(name, 'None') for name in wanted)},)")

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
        self._add(depth, "n = b[i]; i += 1", "if n & 129: n, i = length(b, i, n)", "j = i + (n >> 1)")

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
        is_skipped = into == SKIPPED
        fields = [(field["name"], field["type"], SKIPPED if is_skipped else self._variable()) for field in schema["fields"]]
        for _, kind, variable in fields:
            self.read(kind, variable, depth)
        if not is_skipped:
            self._add(depth, f"{into} = {{{', '.join(f'{name!r}: {variable}' for name, _, variable in fields)}}}")

    def _array(self, schema: Any, into: str, depth: int) -> None:
        is_skipped = into == SKIPPED
        item = SKIPPED if is_skipped else self._variable()
        self._add(depth, f"{into} = []")
        inside = self._blocks(depth)
        self.read(schema["items"], item, inside)
        if not is_skipped:
            self._add(inside, f"{into}.append({item})")

    def _map(self, schema: Any, into: str, depth: int) -> None:
        self._add(depth, f"{into} = {{}}")
        key, item = self._variable(), self._variable()
        inside = self._blocks(depth)
        self._string(None, key, inside)
        self.read(schema["values"], item, inside)
        self._add(inside, f"{into}[{key}] = {item}")

    def _blocks(self, depth: int) -> int:
        """Add the loops around an item and return the depth inside. The size of the block follows a negative count."""
        items = self._variable()
        self._add(depth, "while True:")
        self._varint(depth + 1)
        self._add(depth + 1, "if n == 0: break", f"{items} = (n + 1) >> 1", "if n & 1:")
        self._varint(depth + 2)
        self._add(depth + 1, f"for k in range({items}):")
        return depth + 2
