"""Dead letters as ClickHouse has them, in the view `touchline.dead_letters`. Everything is read, nothing can be written."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from deploy.dead_letters.dead_letter import Letter
from schemas.errors import ConfigError, FatalError, RecordError
from sinks.clickhouse import ClickHouse

READ_ONLY = "SETTINGS readonly = 1, max_execution_time = 60"
ALL = "1"


class Group(NamedTuple):
    """Letters of one stage and reason: how many, how many of them were replayed, their bytes, the first and the last."""

    stage: str
    reason: str
    letters: int
    replayed: int
    size: int
    first: datetime
    last: datetime


class Content(NamedTuple):
    """What a record consists of; both are personal data."""

    key: bytes | None
    payload: bytes


class Reader:
    """Reads letters over one connection. `where` is a person's own ClickHouse expression over the columns of the view.

    Raises ConfigError for an expression that is none, RetryableError while ClickHouse is away.
    """

    def __init__(self, client: ClickHouse) -> None:
        self._client = client
        known = client.query(
            "SELECT count() FROM system.columns WHERE database = 'touchline' AND table = 'dead_letters' AND name = 'replays'"
        )
        if not known.rows[0][0]:
            raise ConfigError("ClickHouse has no view touchline.dead_letters that knows of replays: run `touchline migrate`")

    def check(self, where: str) -> None:
        """Raise ConfigError, in the server's words, for what is no condition. No row is read, so the words quote none."""
        try:
            self._client.query(f"SELECT 1 FROM touchline.dead_letters WHERE (\n{where}\n) LIMIT 0 {READ_ONLY}")  # noqa: S608
        except (ConfigError, FatalError, RecordError) as error:
            words = re.sub(r"[:.]? in (scope|query) SELECT .*", "", str(error), flags=re.DOTALL | re.IGNORECASE)
            text = f"--where is no condition on the columns that `touchline dead-letters list --help` names: {words}"
            raise ConfigError(text) from error

    def groups(self, where: str) -> list[Group]:
        """Letters by stage and reason, most first."""
        rows = self._chosen(
            "stage, reason, count(), sum(replayed), sum(size), min(at), max(at)",
            where,
            "GROUP BY stage, reason ORDER BY 3 DESC, 1, 2",
        )
        return [Group(*row) for row in rows]

    def letters(self, where: str, limit: int | None = None) -> list[Letter]:
        """Letters, newest first."""
        bound = "" if limit is None else f"LIMIT {limit:d}"
        rows = self._chosen(", ".join(Letter._fields), where, f"ORDER BY touchline.dead_letters.at DESC, letter_id {bound}")
        return [Letter(*row) for row in rows]

    def one(self, prefix: str) -> Letter:
        """The letter whose id begins so. Raises ConfigError where none or more than one does."""
        if not re.fullmatch("[0-9a-f-]{1,36}", prefix.lower()):
            raise ConfigError(f"{prefix!r} is no letter id: `touchline dead-letters list` shows how they begin")
        found = self.letters(f"startsWith(toString(letter_id), '{prefix.lower()}')", limit=2)
        if len(found) != 1:
            count = "more than one dead letter begins" if found else "no dead letter begins"
            raise ConfigError(f"{count} with {prefix}: `touchline dead-letters list` shows how they begin")
        return found[0]

    def contents(self, letters: Sequence[Letter]) -> dict[UUID, Content]:
        """Key and payload of each letter. Asked for as hexadecimal, because the driver would take some bytes for text."""
        ids = ", ".join(f"'{letter.letter_id}'" for letter in letters)
        rows = self._chosen("letter_id, hex(key), hex(payload)", f"letter_id IN ({ids})", "")
        return {
            letter_id: Content(None if key is None else bytes.fromhex(key), bytes.fromhex(payload))
            for letter_id, key, payload in rows
        }

    def _chosen(self, columns: str, where: str, rest: str) -> list[tuple[Any, ...]]:
        sql = f"SELECT {columns} FROM touchline.dead_letters WHERE (\n{where}\n) {rest} {READ_ONLY}"  # noqa: S608
        try:
            return self._client.query(sql).rows
        except (ConfigError, FatalError, RecordError) as error:
            raise ConfigError(
                "--where fails on some dead letter: use functions that do not, like toUInt64OrNull instead of toUInt64"
            ) from error
