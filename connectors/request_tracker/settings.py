"""Settings of one Request Tracker."""

from pydantic import Field, SecretStr

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import SourceSettings
from schemas.records.fields import Name


class RequestTrackerSettings(IdentifierSettings, SourceSettings):
    """Settings of the `request_tracker` connector."""

    token: SecretStr = Field(description="Authentication token; only from the environment.")
    system: Name = Field(
        default="request-tracker", description="Part of every event id and of `rt_user`; distinguishes several Request Trackers."
    )
    page: int = Field(default=50, ge=1, le=100, description="Transactions per request.")
