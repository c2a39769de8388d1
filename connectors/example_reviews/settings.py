"""The settings of one account of the review service."""

from pydantic import Field, SecretStr

from connectors.settings import SourceSettings


class ReviewsSettings(SourceSettings):
    """`secret` comes from the environment alone; `page` is how many reviews one request asks for."""

    secret: SecretStr
    page: int = Field(default=100, ge=1, le=500)
