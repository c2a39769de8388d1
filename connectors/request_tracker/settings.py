"""The settings of one Request Tracker."""

from pydantic import Field, SecretStr

from connectors.settings import SourceSettings
from schemas.records.fields import Name


class RequestTrackerSettings(SourceSettings):
    """`token` is an authentication token, from the environment alone; `page` is how many transactions one request asks for.

    `system` tells several Request Trackers apart: it is part of every event id.
    """

    token: SecretStr
    system: Name = "request-tracker"
    page: int = Field(default=50, ge=1, le=100)
