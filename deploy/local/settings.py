"""Settings of the local stack and of the commands that find it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.service.settings import EnvironmentSettings


class LocalSettings(EnvironmentSettings):
    """Folders of the local stack."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_", env_ignore_empty=True, frozen=True)

    home: Annotated[Path, Field(description="Folder of the local stack: its data, logs and state.")] = Path(".touchline")
    tools: Annotated[
        Path | None,
        Field(description="Folder of downloaded programs, which stacks can share. Default: `tools` in the home folder."),
    ] = None
