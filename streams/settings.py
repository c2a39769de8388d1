"""Settings of the streams, read from environment variables `TOUCHLINE_STREAMS_…`."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.service.settings import EnvironmentSettings
from streams.steps.history import BLOCK_SIZE, DEFAULT_MAX_BLOCKS, SLOT_COUNT


class StreamsSettings(EnvironmentSettings):
    """Settings that must be the same for all workers of a group."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_STREAMS_", frozen=True)

    kept_touchpoints: Annotated[
        int,
        Field(
            ge=BLOCK_SIZE,
            le=(SLOT_COUNT - 1) * BLOCK_SIZE,
            description="Minimum number of touchpoints that a customer's history keeps: 32 to 8160, each about 100 bytes before"
            " compression. A touchpoint newer than the oldest kept one may arrive late, repeatedly and in any order.",
        ),
    ] = BLOCK_SIZE * DEFAULT_MAX_BLOCKS
    tick_seconds: Annotated[
        int, Field(ge=0, description="Interval of the ticks at which signals read silent customers; 0 turns ticks off.")
    ] = 3_600
