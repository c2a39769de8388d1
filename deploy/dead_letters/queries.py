"""Queries on the view `touchline.dead_letters`. All of them are read-only."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from deploy.dead_letters.dead_letter import DeadLetter
from schemas.errors import ConfigError, FatalError, RecordError
from sinks.clickhouse import ClickHouse

READ_ONLY = "SETTINGS readonly = 1, max_execution_time = 60"
LIST_HINT = "`touchline dead-letters list` shows the ids"


class Group(NamedTuple):
    """Dead letters of one stage and reason: their number, how many were replayed, their bytes, the first and last time."""

    stage: str
    reason: str
    dead_letters: int
    replayed: int
    size: int
    first: datetime
    last: datetime


class Content(NamedTuple):
    """Key and payload of a record; both are personal data."""

    key: bytes | None
    payload: bytes


class DeadLetterReader:
    """Reader of dead letters over one connection. `where` is a ClickHouse condition on the columns of the view.

    Raises ConfigError for an invalid condition, RetryableError while ClickHouse is away.
    """

    def __init__(self, client: ClickHouse) -> None:
        self._client = client
        columns = client.query(
            "SELECT count() FROM system.columns WHERE database = 'touchline' AND table = 'dead_letters' AND name = 'replays'"
        )
        if not columns.rows[0][0]:
            raise ConfigError("the view touchline.dead_letters is missing or has no column `replays`: run `touchline migrate`")

    def check(self, where: str) -> None:
        """Raise ConfigError with the server's message for an invalid condition.

        The check reads no row, so the message cannot quote customer data.
        """
        try:
            self._client.query(f"SELECT 1 FROM touchline.dead_letters WHERE (\n{where}\n) LIMIT 0 {READ_ONLY}")  # noqa: S608
        except (ConfigError, FatalError, RecordError) as error:
            message = re.sub(r"[:.]? in (scope|query) SELECT .*", "", str(error), flags=re.DOTALL | re.IGNORECASE)
            text = f"--where is no valid condition on the columns in `touchline dead-letters list --help`: {message}"
            raise ConfigError(text) from error

    def groups(self, where: str) -> list[Group]:
        """Return dead letters by stage and reason, largest group first."""
        rows = self._select(
            "stage, reason, count(), sum(replayed), sum(size), min(at), max(at)",
            where,
            "GROUP BY stage, reason ORDER BY 3 DESC, 1, 2",
        )
        return [Group(*row) for row in rows]

    def dead_letters(self, where: str, limit: int | None = None) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        bound = "" if limit is None else f"LIMIT {limit:d}"
        columns = ", ".join(DeadLetter._fields)
        rows = self._select(columns, where, f"ORDER BY touchline.dead_letters.at DESC, letter_id {bound}")
        return [DeadLetter(*row) for row in rows]

    def one(self, prefix: str) -> DeadLetter:
        """Return the dead letter whose id has this prefix. Raises ConfigError unless exactly one has it."""
        if not re.fullmatch("[0-9a-f-]{1,36}", prefix.lower()):
            raise ConfigError(f"{prefix!r} is no id of a dead letter: {LIST_HINT}")
        found = self.dead_letters(f"startsWith(toString(letter_id), '{prefix.lower()}')", limit=2)
        if len(found) != 1:
            count = "more than one dead letter has" if found else "no dead letter has"
            raise ConfigError(f"{count} an id that starts with {prefix}: {LIST_HINT}")
        return found[0]

    def contents(self, dead_letters: Sequence[DeadLetter]) -> dict[UUID, Content]:
        """Return key and payload of each dead letter. The query encodes them, because the driver decodes some bytes as text."""
        ids = ", ".join(f"'{each.letter_id}'" for each in dead_letters)
        rows = self._select("letter_id, hex(key), hex(payload)", f"letter_id IN ({ids})", "")
        return {
            letter_id: Content(None if key is None else bytes.fromhex(key), bytes.fromhex(payload))
            for letter_id, key, payload in rows
        }

    def _select(self, columns: str, where: str, rest: str) -> list[tuple[Any, ...]]:
        sql = f"SELECT {columns} FROM touchline.dead_letters WHERE (\n{where}\n) {rest} {READ_ONLY}"  # noqa: S608
        try:
            return self._client.query(sql).rows
        except (ConfigError, FatalError, RecordError) as error:
            # The message of the server may quote a payload, so it is left out.
            raise ConfigError(
                "--where fails on some dead letter: use functions that accept any value, toUInt64OrNull instead of toUInt64"
            ) from error
