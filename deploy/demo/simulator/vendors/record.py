"""Feeds (files and columns) and records (one row of one feed) of a vendor module."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from deploy.demo.simulator.timeline import Event

Known = tuple[tuple[str, str], ...]


class Feed(NamedTuple):
    """One feed: files `<path>-<year>-<month>.<format>` of touchpoints of one source, with these columns."""

    source: str
    path: str
    format: Literal["csv", "jsonl", "parquet"]
    columns: tuple[str, ...]


class Record(NamedTuple):
    """One row. `known` holds its identifiers in canonical spelling: truth that the drop does not contain."""

    feed: str
    at: datetime
    event: Event
    values: Mapping[str, Any]
    known: Known


def format_time(at: datetime) -> str:
    """2026-02-03T10:11:12Z"""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def format_time_ms(at: datetime) -> str:
    """2026-02-03T10:11:12.000Z"""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
