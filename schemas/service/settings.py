"""Settings from the environment: the base class of all of them, and the settings of every process."""

from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigError


class EnvironmentSettings(BaseSettings):
    """Settings from environment variables. A missing or wrong value raises ConfigError, one line that names its variable."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            prefix = str(self.model_config.get("env_prefix", ""))
            raise ConfigError(_describe(error, prefix)) from None


def check_host(host: str) -> str:
    """Return `host`. Raises ValueError for a name that no resolver accepts, such as one with an empty part."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("this is no host name") from None
    return host


class ProcessSettings(EnvironmentSettings):
    """Settings of every long-running process."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_", frozen=True)

    metrics_port: Annotated[int, Field(ge=0, le=65_535, description="TCP port of metrics and probes; 0 is any free port.")] = 0
    targets: Annotated[str, Field(description="Folder of the Prometheus target files; empty writes none.")] = ""
    wait_seconds: Annotated[
        float, Field(ge=0, description="Seconds that commands which end by themselves wait for Kafka and ClickHouse.")
    ] = 60.0
    restarts: Annotated[int, Field(ge=0, description="Restarts so far; the supervisor of a command sets it.")] = 0

    @property
    def is_supervised(self) -> bool:
        """Return whether the parent process is the supervisor of the command."""
        return "restarts" in self.model_fields_set


def _describe(error: ValidationError, prefix: str) -> str:
    """Return the first missing or wrong value as one line. The value itself may be a secret and is left out."""
    first = error.errors(include_input=False, include_url=False)[0]
    variable = prefix + "_".join(str(part) for part in first["loc"]).upper()
    if first["type"] == "missing":
        return f"set the environment variable {variable}"
    return f"{variable}: {first['msg'].removeprefix('Value error, ')}: correct this environment variable"
