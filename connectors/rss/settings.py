"""Settings of one feed."""

from pydantic import Field

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import SourceSettings
from schemas.records.fields import Name


class RssSettings(IdentifierSettings, SourceSettings):
    """Settings of the `rss` connector."""

    system: Name = Field(description="Product that the feed comes from; part of every event id.")
    poll_seconds: float = Field(default=300, gt=0, description="Pause between two rounds, in seconds.")
    identifiers: dict[str, str] = Field(
        default={"email": "email(author_email)", "profile": "id(author_url)"},
        min_length=1,
        description="Identifiers of an entry's author: kind to JMESPath expression, as in a mapping.",
    )
