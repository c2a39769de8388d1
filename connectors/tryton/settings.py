"""The settings of one Tryton database."""

from typing import Literal, get_args

from pydantic import Field, SecretStr

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


class TrytonSettings(SourceSettings):
    """`url` ends with the name of the database; `system` tells several apart; `password` comes from the environment alone."""

    user: str = Field(min_length=1)
    password: SecretStr
    system: Name = "tryton"
    streams: tuple[Stream, ...] = Field(default=get_args(Stream), min_length=1)
    page: int = Field(default=500, ge=1, le=1_000)
    compare_seconds: float = Field(default=86_400, gt=0)
    requests_per_minute: int | None = Field(default=None, ge=100)
