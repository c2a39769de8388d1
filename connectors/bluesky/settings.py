"""Settings of one stream of the AT Protocol."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import SourceSettings
from schemas.records.fields import Name

Did = Annotated[str, StringConstraints(pattern=r"^did:[a-z]+:[A-Za-z0-9._:%-]+$")]


class BlueskySettings(IdentifierSettings, SourceSettings):
    """Settings of the `bluesky` connector."""

    protocol: Literal["firehose", "jetstream"] = Field(
        description="`firehose` (com.atproto.sync.subscribeRepos) or `jetstream` (network.bsky.jetstream.subscribeEvents)."
    )
    system: Name = Field(default="atproto", description="Part of every event id and account id.")
    dids: tuple[Did, ...] = Field(default=(), max_length=10_000, description="Authors to read; empty for all authors.")
    poll_seconds: float = Field(default=5, gt=0, description="Pause between two rounds, in seconds.")
    quiet_seconds: float = Field(default=1, gt=0, description="A round ends after this time without a frame, in seconds.")
    batch: int = Field(default=500, ge=1, le=1_000, description="Posts per published batch.")
