"""Settings of rebuilds, read from environment variables `TOUCHLINE_REBUILD_…`."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.service.settings import EnvironmentSettings


class RebuildSettings(EnvironmentSettings):
    """Settings of `touchline rebuild`."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_REBUILD_", frozen=True)

    touchpoints_per_second: Annotated[
        int, Field(ge=0, description="Maximum rate at which a rebuild publishes, so that live records stay fast; 0 is no limit.")
    ] = 10_000
