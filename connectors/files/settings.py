"""The settings file of the `files` connector: one file is one connector instance, reading drops below one folder."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.mapping.touchpoint_mapping import Family
from schemas.records.fields import Name

Expression = Annotated[str, Field(min_length=1)]


class Feed(BaseModel):
    """Files of one shape, and how each of their records becomes a touchpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: str
    format: Literal["csv", "jsonl", "parquet"]
    source: Family
    system: Name
    columns: list[str] = Field(min_length=1)
    map: dict[str, Expression | dict[str, Expression]]
    key: Expression | None = None
    version: Expression | None = None
    unknown_columns: Literal["reject", "keep"] = "reject"
    delimiter: str = ","
    encoding: Literal["utf-8", "cp1252", "iso-8859-1"] = "utf-8"
    header: list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _columns_from_header(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("header") and "columns" not in data:
            return {**data, "columns": data["header"]}
        return data

    @field_validator("files")
    @classmethod
    def _below_root(cls, pattern: str) -> str:
        path = PurePosixPath(pattern)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("must be a glob below root, without ..")
        return pattern

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str) -> str:
        if delimiter != "whitespace" and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
            raise ValueError("must be one ASCII character other than a quote, or the word whitespace")
        return delimiter

    @model_validator(mode="after")
    def _csv_only(self) -> Self:
        given = sorted({"delimiter", "encoding", "header"} & self.model_fields_set)
        if self.format != "csv" and given:
            raise ValueError(f"{given[0]} is for csv only")
        return self


class FilesSettings(BaseModel):
    """One instance: `root` is relative to the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    root: Path
    settle_seconds: float = Field(default=0, ge=0)
    poll_seconds: float = Field(default=2, gt=0)
    feeds: dict[Name, Feed] = Field(min_length=1)
