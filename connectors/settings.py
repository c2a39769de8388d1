"""Finds connectors by their folders and opens one with its settings file. Every mistake becomes one ConfigError line."""

import importlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from connectors.contract import Connector
from schemas.errors import ConfigError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The connectors there are: folders beside this file that hold a `connector.py`."""
    return sorted(path.parent.name for path in FOLDER.glob("*/connector.py"))


def open_connector(name: str, settings_file: Path, overrides: dict[str, Any]) -> Connector:
    """The connector `name` with the settings of a YAML file; `overrides` replace top-level settings."""
    if name not in names():
        raise ConfigError(f"there is no connector {name}: there are {', '.join(names())} (`touchline connectors`)")
    kind = importlib.import_module(f"connectors.{name}.connector").Connector
    connector: Connector = kind(_settings(kind.settings_model, settings_file, overrides))
    return connector


def _settings(model: type[BaseModel], path: Path, overrides: dict[str, Any]) -> BaseModel:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ConfigError(f"{path} is not valid YAML{line}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold settings as `name: value` lines")
    if "root" in data and "root" not in overrides:
        data["root"] = path.parent / str(data["root"])
    try:
        return model.model_validate({**data, **overrides})
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False)
    lines = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}" for one in found]
    return "; ".join(lines[:5])
