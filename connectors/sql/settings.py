"""The settings of one database: its tables, and how a row of each becomes a touchpoint."""

from typing import Self
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connectors.mapping.touchpoint_mapping import Family
from connectors.settings import SourceSettings
from schemas.records.fields import Name

MARIADB = {"ssl_ca"}
SCHEMES = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mariadb"}
MANUAL = "wait_for_transactions: false leaves late_seconds alone to find late rows: give it, longer than any transaction lasts"


class Gone(BaseModel):
    """What a row that is no longer there becomes. Expressions read its key, `gone_at` and `since`: nothing else is left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_seconds: float = Field(default=3_600, gt=0)
    map: dict[str, str | dict[str, str]]


class SqlTable(BaseModel):
    """A table or view. `key` is a unique column, `changed` the time of the row's last change; `columns` are all that is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str = Field(min_length=1)
    source: Family
    system: Name
    key: str
    changed: str
    columns: list[str] = Field(default=[])
    deleted: str | None = None
    snapshot: bool = False
    gone: Gone | None = None
    map: dict[str, str | dict[str, str]]

    @property
    def read(self) -> list[str]:
        """The columns to ask for, each once."""
        return list(dict.fromkeys([self.key, self.changed, *self.columns]))


class SqlSettings(SourceSettings):
    """One database and one user of it. `page` is how many rows one query asks for."""

    password: SecretStr
    page: int = Field(default=500, ge=1, le=2_000)
    late_seconds: float = Field(default=30, ge=0)
    wait_for_transactions: bool = True
    tables: dict[Name, SqlTable] = Field(min_length=1)

    @field_validator("url")
    @classmethod
    def _database(cls, url: str) -> str:
        found = urlsplit(url)
        given = parse_qs(found.query, keep_blank_values=True).keys()
        if found.scheme not in SCHEMES or not found.hostname or not found.username or not found.path.strip("/") or not _port(url):
            raise ValueError(f"must look like postgresql://user@host:5432/database; {', '.join(SCHEMES)} are known")
        if found.password is not None or "password" in given:
            raise ValueError("a password does not belong into a file: leave it out, it comes from the environment")
        if SCHEMES[found.scheme] == "mariadb" and given - MARIADB:
            raise ValueError(f"{', '.join(sorted(given - MARIADB))}: there is no such parameter; there is {', '.join(MARIADB)}")
        return url

    @model_validator(mode="after")
    def _overlap_is_chosen(self) -> Self:
        if not self.wait_for_transactions and "late_seconds" not in self.model_fields_set:
            raise ValueError(MANUAL)
        return self


def _port(url: str) -> bool:
    """Whether the address names a port that there can be, or none."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
