"""Which servers are known to drop a repeated insert, and what must be said to each of them; any other is refused."""

from collections.abc import Collection
from typing import Any

from schemas.errors import ConfigError

OLDEST, NEWEST = (26, 1), (26, 12)
RENAMED = (26, 2)
ALWAYS = {"async_insert": 0, "distributed_foreground_insert": 1, "deduplicate_blocks_in_dependent_materialized_views": 1}
TOKEN = "insert_deduplication_token"  # noqa: S105 the name of a setting


def insert_settings(version: str, known: Collection[str], where: str) -> dict[str, Any]:
    """The settings of an insert that is stored at once and at most once, besides its token; `known` are those the server has.

    Asynchronous inserts are the default since 26.3, and the switch of deduplication was renamed in 26.2. Raises ConfigError.
    """
    number = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    if not OLDEST <= number <= NEWEST:
        raise ConfigError(
            f"{where} is version {version}, and how it treats a repeated insert is not known here: use one from"
            f" {_shown(OLDEST)} to {_shown(NEWEST)}, or a Touchline that knows it"
        )
    switch = {"deduplicate_insert": "enable"} if number >= RENAMED else {"insert_deduplicate": 1}
    settings = {**ALWAYS, **switch}
    if missing := sorted({TOKEN, *settings} - set(known)):
        raise ConfigError(f"{where}, version {version}, has no setting {missing[0]}, without which rows could be stored twice")
    return settings


def _shown(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
