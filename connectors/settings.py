"""Finds connectors by their folders and opens one with its settings file. Every mistake becomes one ConfigError line.

Secrets come from the environment alone: setting `token` of the instance `shop` is `TOUCHLINE_SHOP_TOKEN`.
"""

import importlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import AwareDatetime, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.contract import Connector
from schemas.errors import ConfigError
from schemas.fields import Name

FOLDER = Path(__file__).parent


class SourceSettings(BaseSettings):
    """What every connector that asks a server needs: `name` is the instance, `start` where live reading begins."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    name: Name
    url: str
    start: AwareDatetime | None = None
    poll_seconds: float = Field(default=60, gt=0)
    timeout_seconds: float = Field(default=30, gt=0)
    requests_per_minute: int | None = Field(default=None, ge=1)


def variable(name: str, field: str = "") -> str:
    """The environment variable of a secret setting of the instance `name`; without a field, what they all begin with."""
    return f"TOUCHLINE_{name.replace('-', '_').upper()}_{field.upper()}"


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
    given = {**data, **overrides}
    name = str(given.get("name", ""))
    secrets = [field for field, info in model.model_fields.items() if info.annotation is SecretStr]
    if written := [field for field in secrets if field in given]:
        raise ConfigError(f"{path}: {written[0]}: a secret does not belong into a file: set {variable(name, written[0])}")
    try:
        if issubclass(model, BaseSettings):
            return model(_env_prefix=variable(name), **given)
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error, {field: variable(name, field) for field in secrets})}") from None


def _first(error: ValidationError, secrets: dict[str, str]) -> str:
    found = error.errors(include_input=False, include_url=False)
    lines = []
    for one in found[:5]:
        where = ".".join(str(part) for part in one["loc"])
        said = f"set the environment variable {secrets[where]}" if where in secrets else one["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {said}")
    return "; ".join(lines)
