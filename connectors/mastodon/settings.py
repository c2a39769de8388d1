"""Settings of one account of a Mastodon server."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import SourceSettings
from schemas.records.fields import Name

Tag = Annotated[str, StringConstraints(pattern=r"^\w{1,100}$", to_lower=True)]


class MastodonSettings(IdentifierSettings, SourceSettings):
    """Settings of the `mastodon` connector."""

    token: SecretStr = Field(description="Access token of the account; only from the environment.")
    system: Name = Field(
        default="mastodon", description="Part of every event id and account id; give each further server its own name."
    )
    mentions: bool = Field(default=True, description="Read the posts that mention the account, with any visibility.")
    tags: tuple[Tag, ...] = Field(default=(), description="Hashtags without `#`; the connector reads their public posts.")
    recheck_hours: float = Field(
        default=24, gt=0, le=720, description="Each round checks the posts of this period again for edits and deletes, in hours."
    )
    page: int = Field(default=40, ge=1, le=40, description="Posts per request.")

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if not self.mentions and not self.tags:
            raise ValueError("there is nothing to read: set `tags`, or set `mentions` to true")
        return self
