"""Base class of all settings that come from the environment."""

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from schemas.errors import ConfigError


class EnvironmentSettings(BaseSettings):
    """Settings from environment variables. A wrong value raises ConfigError with one line that names its variable."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            prefix = str(self.model_config.get("env_prefix", ""))
            raise ConfigError(_describe(error, prefix)) from None


def _describe(error: ValidationError, prefix: str) -> str:
    """Return the first wrong value as one line. The value itself may be a secret and is left out."""
    first = error.errors(include_input=False, include_url=False)[0]
    variable = prefix + "_".join(str(part) for part in first["loc"]).upper()
    return f"{variable}: {first['msg']}: correct this environment variable"
