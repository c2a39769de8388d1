"""Accepted ClickHouse versions, and the settings with which each of them drops a repeated insert."""

from collections.abc import Collection
from typing import Any

from schemas.errors import ConfigError

MIN_VERSION, MAX_VERSION = (26, 1), (26, 12)
RENAMED_IN_VERSION = (26, 2)
FIXED_SETTINGS = {"async_insert": 0, "distributed_foreground_insert": 1, "deduplicate_blocks_in_dependent_materialized_views": 1}
TOKEN = "insert_deduplication_token"  # noqa: S105 the name of a setting


def make_insert_settings(version: str, known: Collection[str], where: str) -> dict[str, Any]:
    """Return the settings of a synchronous, deduplicated insert, without its token; `known` are the settings of the server.

    Asynchronous inserts are the default since 26.3, and the deduplication setting was renamed in 26.2. Raises ConfigError for a
    version outside the accepted range and for a missing setting.
    """
    number = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    if not MIN_VERSION <= number <= MAX_VERSION:
        raise ConfigError(
            f"{where} has version {version}, and this software does not know how it deduplicates inserts: use a version"
            f" from {_format_version(MIN_VERSION)} to {_format_version(MAX_VERSION)}, or a newer Touchline"
        )
    switch = {"deduplicate_insert": "enable"} if number >= RENAMED_IN_VERSION else {"insert_deduplicate": 1}
    settings = {**FIXED_SETTINGS, **switch}
    if missing := sorted({TOKEN, *settings} - set(known)):
        raise ConfigError(
            f"{where}, version {version}, lacks the setting {missing[0]}, so it could store rows twice: use another version"
        )
    return settings


def _format_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
