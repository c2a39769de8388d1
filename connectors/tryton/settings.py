"""Settings of one Tryton database."""

from typing import Literal, get_args

from pydantic import Field, SecretStr

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import SourceSettings
from schemas.records.fields import Name

Stream = Literal[
    "sales",
    "shipments",
    "returns",
    "moves",
    "invoices",
    "opportunities",
    "parties.new",
    "parties.changed",
    "parties",
    "parties.gone",
]


class TrytonSettings(IdentifierSettings, SourceSettings):
    """Settings of the `tryton` connector; `url` ends with the name of the database."""

    user: str = Field(min_length=1, description="Login of an administrator.")
    password: SecretStr = Field(description="Password of the user; only from the environment.")
    system: Name = Field(
        default="tryton", description="Part of every event id and of `erp_party`; distinguishes several databases."
    )
    streams: tuple[Stream, ...] = Field(
        default=get_args(Stream), min_length=1, description="Streams to read; omit those whose module is not activated."
    )
    page: int = Field(default=500, ge=1, le=1_000, description="Records per request.")
    compare_seconds: float = Field(
        default=86_400, gt=0, description="`parties.gone`: pause between two comparisons of all party ids, in seconds."
    )
    requests_per_minute: int | None = Field(default=None, ge=100, description="Request rate, at least 100.")
