"""The settings of one tap: the program, its own config, and how the rows of each of its streams become touchpoints."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.errors import ConfigError
from schemas.records.families import FAMILIES
from schemas.records.fields import Name

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET = re.compile(r"(password|secret|token|api_?key|private_?key)$", re.IGNORECASE)
TEMPLATE = "{{"


class TapStream(BaseModel):
    """One of the tap's streams. `replication_key` makes it incremental by that column, where the tap leaves that to us."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: str = Field(min_length=1)
    replication_key: str | None = None
    source: str
    system: Name
    columns: list[str] = Field(min_length=1)
    key: str | None = None
    version: str | None = None
    time: str | None = None
    deleted: str | None = None
    snapshot: bool = False
    map: dict[str, str | dict[str, str]]

    @field_validator("source")
    @classmethod
    def _known_family(cls, source: str) -> str:
        if source not in FAMILIES:
            raise ValueError(f"must be one of {', '.join(FAMILIES)}")
        return source


class TapsSettings(BaseModel):
    """One tap with one config. `root` is where it runs, relative to the settings file; `log` is where its stderr goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    root: Path = Path()
    protocol: Literal["singer", "airbyte"]
    command: list[str] = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    log: Path | None = None
    poll_seconds: float = Field(default=60, gt=0)
    timeout_seconds: float = Field(default=600, gt=0)
    streams: dict[Name, TapStream] = Field(min_length=1)

    @field_validator("config")
    @classmethod
    def _secrets_are_references(cls, config: dict[str, Any]) -> dict[str, Any]:
        if written := _written(config):
            raise ValueError(
                f"{written}: a secret does not belong into a file: write ${{A_VARIABLE}} and set it in the environment"
            )
        return config


def _written(value: Any, where: str = "") -> str | None:
    """The first secret that stands in the config itself, however deep; a manifest's templates only name one."""
    if isinstance(value, str):
        own = value and not REFERENCE.search(value) and TEMPLATE not in value
        return where if own and SECRET.search(where) else None
    if isinstance(value, list):
        value = dict(enumerate(value))
    inner = value.items() if isinstance(value, dict) else ()
    return next(filter(None, (_written(one, f"{where}.{name}".lstrip(".")) for name, one in inner)), None)


def resolved(value: Any, where: str = "config") -> Any:
    """The config with each `${NAME}` replaced by that environment variable. Raises ConfigError where it is not set."""
    if isinstance(value, dict):
        return {name: resolved(one, f"{where}.{name}") for name, one in value.items()}
    if isinstance(value, list):
        return [resolved(one, where) for one in value]
    if not isinstance(value, str):
        return value
    if missing := [name for name in REFERENCE.findall(value) if name not in os.environ]:
        raise ConfigError(f"{where}: set the environment variable {missing[0]}")
    return REFERENCE.sub(lambda found: os.environ[found[1]], value)
