"""The settings of one stream of the AT Protocol."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from connectors.settings import SourceSettings
from schemas.records.fields import Name

Did = Annotated[str, StringConstraints(pattern=r"^did:[a-z]+:[A-Za-z0-9._:%-]+$")]


class BlueskySettings(SourceSettings):
    """`url` is a server's own stream (`firehose`) or a `jetstream`; `dids` are the authors to read, all where there are none.

    A round ends when it has caught up, or when nothing came for `quiet_seconds`. `batch` is how many posts are published at once.
    """

    protocol: Literal["firehose", "jetstream"]
    system: Name = "atproto"
    dids: tuple[Did, ...] = Field(default=(), max_length=10_000)
    poll_seconds: float = Field(default=5, gt=0)
    quiet_seconds: float = Field(default=1, gt=0)
    batch: int = Field(default=500, ge=1, le=1_000)
