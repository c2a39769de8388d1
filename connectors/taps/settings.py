"""Settings of one tap: the program, its config, and the mappings of its streams."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connectors.mapping.identifier_settings import IdentifierSettings
from schemas.errors import ConfigError
from schemas.records.families import FAMILIES
from schemas.records.fields import Name

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET = re.compile(r"(password|secret|token|api_?key|private_?key)$", re.IGNORECASE)
TEMPLATE = "{{"


class TapStream(IdentifierSettings):
    """One of the tap's streams."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: str = Field(min_length=1, description="The tap's name of the stream; `--check` lists the names.")
    replication_key: str | None = Field(default=None, description="Column to read incrementally by. Default: the tap's choice.")
    source: str = Field(description="Event family of the touchpoints.")
    system: Name = Field(description="Product that the rows come from; part of every event id.")
    columns: list[str] = Field(min_length=1, description="All columns that the mapping knows; other columns become attributes.")
    key: str | None = Field(default=None, description="JMESPath: id of the row. Default: the tap's key, or a hash of the row.")
    version: str | None = Field(default=None, description="JMESPath: version of the row. Default: hash of the row.")
    time: str | None = Field(
        default=None, description="JMESPath: time that the tap reads by; rows without it are rejected. It saves memory."
    )
    deleted: str | None = Field(default=None, description="JMESPath: true if the tap marks the row as deleted.")
    snapshot: bool = Field(default=False, description="Publish a row only if its touchpoint has changed.")
    map: dict[str, str | dict[str, str]] = Field(description="Field of the event family to JMESPath expression.")

    @field_validator("source")
    @classmethod
    def _check_family(cls, source: str) -> str:
        if source not in FAMILIES:
            raise ValueError(f"must be one of {', '.join(FAMILIES)}")
        return source


class TapsSettings(BaseModel):
    """Settings of the `taps` connector: one tap with one config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Instance name: label of metrics, `connector` of every touchpoint, key of the saved cursors.")
    root: Path = Field(
        default=Path(), description="Working folder of the tap, relative to the settings file. Default: the current folder."
    )
    protocol: Literal["singer", "airbyte"] = Field(description="Protocol of the tap.")
    command: list[str] = Field(min_length=1, description="Program of the tap and its first arguments.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Config of the tap; `${VARIABLE}` in a text is replaced by that environment variable."
    )
    log: Path | None = Field(
        default=None, description="File below `root` for the tap's stderr and log messages. Default: stderr."
    )
    poll_seconds: float = Field(default=60, gt=0, description="Pause between two rounds, in seconds.")
    timeout_seconds: float = Field(default=600, gt=0, description="Longest silence of the tap before it is ended, in seconds.")
    streams: dict[Name, TapStream] = Field(min_length=1, description="Streams by name; the name is part of every event id.")

    @field_validator("config")
    @classmethod
    def _check_secrets(cls, config: dict[str, Any]) -> dict[str, Any]:
        if place := _find_secret(config):
            raise ValueError(f"{place}: a secret does not belong in a file: write ${{A_VARIABLE}} and set it in the environment")
        return config


def _find_secret(value: Any, where: str = "") -> str | None:
    """Return the place of the first plain secret at any depth of the config; templates of a manifest only name secrets."""
    if isinstance(value, str):
        own = value and not REFERENCE.search(value) and TEMPLATE not in value
        return where if own and SECRET.search(where) else None
    if isinstance(value, list):
        value = dict(enumerate(value))
    inner = value.items() if isinstance(value, dict) else ()
    return next(filter(None, (_find_secret(one, f"{where}.{name}".lstrip(".")) for name, one in inner)), None)


def resolve_references(value: Any, where: str = "config") -> Any:
    """Return the config with each `${NAME}` replaced by that environment variable. Raises ConfigError if it is not set."""
    if isinstance(value, dict):
        return {name: resolve_references(one, f"{where}.{name}") for name, one in value.items()}
    if isinstance(value, list):
        return [resolve_references(one, where) for one in value]
    if not isinstance(value, str):
        return value
    if missing := [name for name in REFERENCE.findall(value) if name not in os.environ]:
        raise ConfigError(f"{where}: set the environment variable {missing[0]}")
    return REFERENCE.sub(lambda match: os.environ[match[1]], value)
