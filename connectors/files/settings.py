"""Settings of the `files` connector: one settings file is one instance, which reads the files below one folder."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.mapping.touchpoint_mapping import Family
from schemas.records.fields import Name

Expression = Annotated[str, Field(min_length=1)]


class Feed(IdentifierSettings):
    """Files of one format, and the mapping of their records to touchpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: str = Field(description="Glob below `root`; `**` matches subfolders.")
    format: Literal["csv", "jsonl", "parquet"] = Field(description="Format of the files.")
    source: Family = Field(description="Event family of the touchpoints.")
    system: Name = Field(description="Product that the files come from; part of every event id.")
    columns: list[str] = Field(
        min_length=1, description="All columns that the mapping knows (top-level keys of JSON). Default: `header`."
    )
    map: dict[str, Expression | dict[str, Expression]] = Field(
        description="Field of the event family to JMESPath expression; `identifiers`, `traits`, `attributes` have one per entry."
    )
    key: Expression | None = Field(
        default=None,
        description="JMESPath: id of the record in its system. Default: hash of the row and its number among equal rows.",
    )
    version: Expression | None = Field(default=None, description="JMESPath: version of the record. Default: hash of the row.")
    unknown_columns: Literal["reject", "keep"] = Field(
        default="reject",
        description="Treatment of a value in an unknown column: `reject` the record, or `keep` it as an attribute.",
    )
    delimiter: str = Field(default=",", description="csv: one ASCII character, or `whitespace` for column-aligned text.")
    encoding: Literal["utf-8", "cp1252", "iso-8859-1"] = Field(default="utf-8", description="csv: encoding of the files.")
    header: list[str] | None = Field(default=None, description="csv: column names of files without a header line.")

    @model_validator(mode="before")
    @classmethod
    def _columns_from_header(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("header") and "columns" not in data:
            return {**data, "columns": data["header"]}
        return data

    @field_validator("files")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        path = PurePosixPath(pattern)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("must be a glob below root, without ..")
        return pattern

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, delimiter: str) -> str:
        if delimiter != "whitespace" and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
            raise ValueError("must be one ASCII character other than a quote, or the word whitespace")
        return delimiter

    @model_validator(mode="after")
    def _check_csv_settings(self) -> Self:
        given = sorted({"delimiter", "encoding", "header"} & self.model_fields_set)
        if self.format != "csv" and given:
            raise ValueError(f"{given[0]} is for csv only")
        return self


class FilesSettings(BaseModel):
    """Settings of one instance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Instance name: label of metrics, `connector` of every touchpoint, key of the saved cursors.")
    root: Path = Field(description="Folder of the files, relative to the settings file; `--root` replaces it.")
    settle_seconds: float = Field(
        default=0,
        ge=0,
        description="A file is complete after this time without a change, or when `<file>.done` exists, in seconds.",
    )
    poll_seconds: float = Field(default=2, gt=0, description="Pause between two rounds, in seconds.")
    feeds: dict[Name, Feed] = Field(min_length=1, description="Feeds by name; the name is part of every event id.")
