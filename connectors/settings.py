"""Discovery and settings of connectors. Each mistake in a settings file becomes one line: a ConfigError.

A folder with a `connector.py` is a connector; `http/`, `mapping/` and `runtime/` have none.
Secrets come only from the environment: the setting `token` of the instance `shop` is `TOUCHLINE_SHOP_TOKEN`.
"""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import AwareDatetime, BaseModel, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.contract import Connector
from schemas.errors import ConfigError
from schemas.records.fields import NAME, Name

FOLDER = Path(__file__).parent
MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a setting",
    "model_type": "must hold `name: value` lines",
    "string_type": "must be a text: put it into quotes",
    "too_short": "must not be empty",
    "timezone_aware": "needs a time zone, as in 2026-01-01T00:00:00Z",
}
NAME_RULE = "may hold the letters a to z, digits, - and _, and must begin with a letter"
MAX_SHOWN_ERRORS = 5


class SourceSettings(BaseSettings):
    """Settings of every connector that requests a server. `name` is the instance, `start` the beginning of live mode."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Instance name: label of metrics, `connector` of every touchpoint, key of the saved cursors.")
    url: str = Field(description="Address of the source.")
    start: AwareDatetime | None = Field(default=None, description="Live mode skips older records. Default: the beginning.")
    poll_seconds: float = Field(default=60, gt=0, description="Pause between two rounds, in seconds.")
    timeout_seconds: float = Field(default=30, gt=0, description="Longest pause within an answer, in seconds.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Request rate. Default: the limit that the source states."
    )


def secret_variable(name: str, field: str = "") -> str:
    """Return the environment variable of a secret setting of the instance `name`; without a field, the prefix of all of them."""
    return f"TOUCHLINE_{name.replace('-', '_').upper()}_{field.upper()}"


def list_connectors() -> list[str]:
    """Return the names of all connectors: the folders with a `connector.py`."""
    return sorted(path.parent.name for path in FOLDER.glob("*/connector.py"))


def open_connector(name: str, settings_file: Path, overrides: dict[str, Any]) -> Connector:
    """Open the connector `name` with the settings of a YAML file; `overrides` replace top-level settings. Raises ConfigError."""
    if name not in list_connectors():
        raise ConfigError(
            f"there is no connector {name}: choose one of {', '.join(list_connectors())} (`touchline connectors` describes them)"
        )
    kind = importlib.import_module(f"connectors.{name}.connector").Connector
    connector: Connector = kind(_load_settings(kind.settings_model, settings_file, overrides))
    return connector


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the entries of a YAML file. Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ConfigError(f"{path} is not valid YAML{line}: does a value need quotes?") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold `name: value` lines")
    return data


def describe_validation_error(
    error: ValidationError, model: type[BaseModel], variables: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the first errors as one line, each with its field and the change to make. `variables` set the model's secrets."""
    lines = []
    errors = error.errors(include_input=False, include_url=False)
    for one in [each for each in errors if not _is_consequence(each, errors)][:MAX_SHOWN_ERRORS]:
        field = ".".join(str(part) for part in one["loc"] if part != "[key]")
        message = MESSAGES.get(one["type"], one["msg"].removeprefix("Value error, "))
        if one.get("ctx", {}).get("pattern") == NAME:
            message = NAME_RULE
        elif field in variables:
            message = f"set the environment variable {variables[field]}"
        elif one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
            message += f"; settings are {', '.join(model.model_fields)}"
        lines.append(f"{field}: {message}" if field else message)
    return "; ".join(lines)


def _is_consequence(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Return whether a list is too short only because its entries are wrong: those have errors of their own."""
    field = error["loc"]
    entries = (one["loc"] for one in errors if len(one["loc"]) > len(field))
    return error["type"] == "too_short" and any(loc[: len(field)] == field for loc in entries)


def _load_settings(model: type[BaseModel], path: Path, overrides: dict[str, Any]) -> BaseModel:
    data = load_yaml(path)
    if "root" in data and "root" not in overrides:
        data["root"] = path.parent / str(data["root"])
    given = {**data, **overrides}
    name = str(given.get("name", "<name>"))
    if "name" in given and not re.search(NAME, name):
        raise ConfigError(f"{path}: name: {NAME_RULE}")
    secrets = [field for field, info in model.model_fields.items() if info.annotation is SecretStr]
    if written := [field for field in secrets if field in given]:
        raise ConfigError(f"{path}: {written[0]}: a secret does not belong in a file: set {secret_variable(name, written[0])}")
    try:
        if issubclass(model, BaseSettings):
            return model(_env_prefix=secret_variable(name), **given)
        return model.model_validate(given)
    except ValidationError as error:
        variables = {field: secret_variable(name, field) for field in secrets}
        raise ConfigError(f"{path}: {describe_validation_error(error, model, variables)}") from None
