"""The settings of one feed."""

from pydantic import Field

from connectors.settings import SourceSettings
from schemas.records.fields import Name


class RssSettings(SourceSettings):
    """`system` is the product the feed comes from; `identifiers` says who an entry is by, as in a mapping."""

    system: Name
    poll_seconds: float = Field(default=300, gt=0)
    identifiers: dict[str, str] = Field(default={"email": "email(author_email)", "profile": "id(author_url)"}, min_length=1)
