"""The settings of one Tryton database."""

from typing import Literal

from pydantic import Field, SecretStr

from connectors.settings import SourceSettings
from schemas.fields import Name

Stream = Literal["sales", "shipments", "invoices", "opportunities", "parties"]


class TrytonSettings(SourceSettings):
    """`url` ends with the name of the database; `system` tells several apart; `password` comes from the environment alone."""

    user: str = Field(min_length=1)
    password: SecretStr
    system: Name = "tryton"
    streams: tuple[Stream, ...] = Field(default=("sales", "shipments", "invoices", "opportunities", "parties"), min_length=1)
    page: int = Field(default=500, ge=1, le=1_000)
    requests_per_minute: int | None = Field(default=None, ge=100)
