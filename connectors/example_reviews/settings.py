"""Settings of one account of the review service."""

from pydantic import Field, SecretStr

from connectors.settings import SourceSettings


class ReviewsSettings(SourceSettings):
    """Settings of the `example_reviews` connector."""

    secret: SecretStr = Field(description="API secret of the account; only from the environment.")
    page: int = Field(default=100, ge=1, le=500, description="Reviews per request.")
