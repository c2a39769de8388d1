"""Imports of each connector folder: its own modules and the shared ones, never another connector."""

from functools import cache

import grimp
import pytest

from connectors.settings import list_connectors


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("connectors")


@pytest.mark.parametrize("name", list_connectors())
def test_connector_imports_no_other_connector(name: str) -> None:
    folder = f"connectors.{name}"
    modules = {folder, *graph().find_descendants(folder)}
    imported = {each for module in modules for each in graph().find_modules_directly_imported_by(module)}
    assert {each.split(".")[1] for each in imported} <= {name, "contract", "errors", "http", "mapping", "settings"}
