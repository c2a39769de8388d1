"""The settings of one account of a Mastodon server."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from connectors.settings import SourceSettings
from schemas.records.fields import Name

Tag = Annotated[str, StringConstraints(pattern=r"^\w{1,100}$", to_lower=True)]


class MastodonSettings(SourceSettings):
    """`token` comes from the environment alone; `tags` are hashtags without `#`, `mentions` are those of the token's account.

    `system` is part of every event id and account: give each further server a name of its own. Posts of the last `watch_hours`
    are looked at again each round, for edits and deletes. `page` is how many posts one request asks for.
    """

    token: SecretStr
    system: Name = "mastodon"
    mentions: bool = True
    tags: tuple[Tag, ...] = ()
    watch_hours: float = Field(default=24, gt=0, le=720)
    page: int = Field(default=40, ge=1, le=40)

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if not self.mentions and not self.tags:
            raise ValueError("there is nothing to read: name `tags`, or leave `mentions` on")
        return self
