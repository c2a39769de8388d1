"""What an operator may set about the streams, from the environment (`TOUCHLINE_STREAMS_...`)."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.steps.history import BLOCK, BLOCKS, SLOTS


class StreamsSettings(BaseSettings):
    """`kept_touchpoints`: how many of a customer's newest touchpoints are kept at least. Whatever is newer than the oldest of
    them may come late, twice, and in any order. About 75 bytes each before compression; the same for all workers.

    `tick_seconds`: how often signals may speak about silence, at each full so many seconds of the clock; 0 is never. The same
    for all workers."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_STREAMS_", frozen=True)

    kept_touchpoints: Annotated[int, Field(ge=BLOCK, le=(SLOTS - 1) * BLOCK)] = BLOCK * BLOCKS
    tick_seconds: Annotated[int, Field(ge=0)] = 3_600
