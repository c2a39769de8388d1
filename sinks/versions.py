"""The version of a table's rows: a digest of the code and schemas that decide its rows, and of nothing else. Pure.

It is part of the deduplication token, so a deployment in the middle of a chunk stores the chunk twice when the version differs.
Therefore only these count:

1. statements that `row` of the table and `make_row` of `sinks/chunk.py` reach, name by name, through `sinks` and `schemas`;
2. the frozen schemas that the table reads, in every version, with their ids.

Comments, docstrings, annotations of functions, texts of errors and `doc` of schemas do not count.
"""

import ast
import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from schemas.wire import registry

PACKAGES = ("sinks", "schemas")
ROOTS = (("sinks.chunk", "make_row"), ("sinks.contract", "RECORD"))
PROSE_KEYWORDS = {"description", "title", "doc", "help"}
Symbol = tuple[str, str]


class Statement(NamedTuple):
    """A top-level statement without prose, and all that it refers to."""

    line: int
    code: str
    uses: frozenset[Symbol]


class Module(NamedTuple):
    """Statements of a module by the name they bind; "" holds those that bind none. `imports` are names of our packages."""

    bound: dict[str, list[Statement]]
    imports: dict[str, Symbol]


def row_version(module: str, names: Iterable[str], schemas: Iterable[str]) -> str:
    """Return the version of a table: a digest of these names of its module, of all code that they use, and of these schemas."""
    roots = [*ROOTS, *((module, name) for name in names)]
    return sha256("\n".join([*_collect_reached(roots), *_list_frozen(set(schemas))]).encode()).hexdigest()[:8]


def read_source(module: str) -> str:
    """Return the text of a module."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _collect_reached(roots: Iterable[Symbol]) -> list[str]:
    """Return every reached statement without prose, in the same order in every process."""
    waiting, seen = list(roots), set[Symbol]()
    found = {}
    while waiting:
        symbol = waiting.pop()
        if symbol in seen:
            continue
        seen.add(symbol)
        module, name = symbol
        parsed = _parse(module, read_source(module))
        if name in parsed.imports:
            waiting.append(parsed.imports[name])
        waiting.append((module, ""))
        for statement in parsed.bound.get(name, ()):
            found[f"{module} {statement.line:06}"] = statement.code
            waiting += statement.uses
    return [found[place] for place in sorted(found)]


def _list_references(module: str, imports: dict[str, Symbol], statement: ast.stmt) -> Iterator[Symbol]:
    """Yield the references of a statement: names of its module, and attributes of modules that it imports."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield module, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imports:
            imported, name = imports[node.value.id]
            if not name:
                yield imported, node.attr


@cache
def _parse(module: str, source: str) -> Module:
    tree = ast.parse(source)
    imports = [each for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in _list_imports(module, node)]
    parsed = Module({}, dict(imports))
    for statement in tree.body:
        bare = _ProseRemover().visit(statement)
        if bare is not None and not isinstance(bare, ast.Import | ast.ImportFrom):
            uses = frozenset(_list_references(module, parsed.imports, bare))
            for name in _list_bound_names(bare):
                parsed.bound.setdefault(name, []).append(Statement(bare.lineno, ast.dump(bare), uses))
    return parsed


def _list_bound_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)] or [""]
    return [""]


def _list_imports(module: str, statement: ast.ImportFrom) -> Iterator[tuple[str, Symbol]]:
    """Yield each imported name of ours with its module and name there; the name is empty where it is a module itself."""
    origin = importlib.util.resolve_name("." * statement.level + (statement.module or ""), module)
    if origin.partition(".")[0] not in PACKAGES:
        return
    for alias in statement.names:
        inner = f"{origin}.{alias.name}"
        is_module = importlib.util.find_spec(origin).submodule_search_locations and importlib.util.find_spec(inner)  # type: ignore[union-attr]
        yield alias.asname or alias.name, (inner, "") if is_module else (origin, alias.name)


class _ProseRemover(ast.NodeTransformer):
    """Transformer that removes prose from code: docstrings, annotations of functions, descriptions and texts of errors."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
        node.body = [bare for each in node.body if each in fields or (bare := self.visit(each))]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if node.arg in PROSE_KEYWORDS else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                part.args, part.keywords = [], []
        return node


def _list_frozen(schemas: set[str]) -> list[str]:
    """Return id and text of every version of these schemas, without prose."""
    ids = {schema_id: name for schema_id, name in registry.schema_versions().items() if name.rpartition("-")[0] in schemas}
    return [f"{schema_id} {json.dumps(_remove_prose(registry.load_schema(schema_id)))}" for schema_id in sorted(ids)]


def _remove_prose(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _remove_prose(value) for key, value in schema.items() if key != "doc"}
    return [_remove_prose(each) for each in schema] if isinstance(schema, list) else schema
