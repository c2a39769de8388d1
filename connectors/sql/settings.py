"""Settings of one database: its tables, and the mapping of their rows to touchpoints."""

from typing import Self
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.mapping.touchpoint_mapping import Family
from connectors.settings import SourceSettings
from schemas.records.fields import Name

MARIADB_PARAMETERS = {"ssl_ca"}
SCHEMES = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mariadb"}
LATE_SECONDS_REQUIRED = "wait_for_transactions: false needs late_seconds: set it longer than the longest transaction"


class Gone(BaseModel):
    """Mapping of deleted keys. Its expressions can read the key, `gone_at` and `since`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_seconds: float = Field(
        default=3_600, gt=0, description="Pause between two comparisons of the table's keys, in seconds."
    )
    map: dict[str, str | dict[str, str]] = Field(description="Mapping of a deleted key to a touchpoint.")


class SqlTable(IdentifierSettings):
    """One table or view."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str = Field(min_length=1, description="Name of the table or view, with its schema if needed.")
    source: Family = Field(description="Event family of the touchpoints.")
    system: Name = Field(description="Product that the rows come from; part of every event id.")
    key: str = Field(description="Unique column that is never null.")
    changed: str = Field(description="Column with the time of the row's last change; needs an index, best on (`changed`, `key`).")
    columns: list[str] = Field(default=[], description="Other columns to read; no other column leaves the database.")
    deleted: str | None = Field(default=None, description="JMESPath: true if a column marks the row as deleted.")
    snapshot: bool = Field(default=False, description="Publish a row only if its touchpoint has changed.")
    gone: Gone | None = Field(default=None, description="Find deleted rows by comparing the table's keys.")
    map: dict[str, str | dict[str, str]] = Field(description="Field of the event family to JMESPath expression.")

    @property
    def read(self) -> list[str]:
        """The columns to select, each once."""
        return list(dict.fromkeys([self.key, self.changed, *self.columns]))


class SqlSettings(SourceSettings):
    """Settings of the `sql` connector: one database and one of its users."""

    password: SecretStr = Field(description="Password of the user; only from the environment.")
    page: int = Field(default=500, ge=1, le=2_000, description="Rows per query.")
    late_seconds: float = Field(
        default=30,
        ge=0,
        description="Each round reads this period before its cursor again; required without `wait_for_transactions`.",
    )
    wait_for_transactions: bool = Field(
        default=True, description="Read only rows that no open transaction can precede; false relies on `late_seconds`."
    )
    tables: dict[Name, SqlTable] = Field(min_length=1, description="Tables by stream name; the name is part of every event id.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        given = parse_qs(parts.query, keep_blank_values=True).keys()
        if (
            parts.scheme not in SCHEMES
            or not parts.hostname
            or not parts.username
            or not parts.path.strip("/")
            or not _has_valid_port(url)
        ):
            raise ValueError(f"must look like postgresql://user@host:5432/database with one of the schemes {', '.join(SCHEMES)}")
        if parts.password is not None or "password" in given:
            raise ValueError("a password does not belong in a file: remove it and set the environment variable")
        if SCHEMES[parts.scheme] == "mariadb" and given - MARIADB_PARAMETERS:
            raise ValueError(
                f"{', '.join(sorted(given - MARIADB_PARAMETERS))}: unknown parameter, expected {', '.join(MARIADB_PARAMETERS)}"
            )
        return url

    @model_validator(mode="after")
    def _check_late_seconds(self) -> Self:
        if not self.wait_for_transactions and "late_seconds" not in self.model_fields_set:
            raise ValueError(LATE_SECONDS_REQUIRED)
        return self


def _has_valid_port(url: str) -> bool:
    """Return whether the address has a valid port or none."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
