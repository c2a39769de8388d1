"""The intent of a chunk: the ranges of its insert, committed before it as metadata of each of its partitions.

The next owner of one of these partitions reads the ranges of all of them and inserts them under the same token. ClickHouse
drops the block if it is stored already. On Kafka an intent reads `1 <version> <id> 0:10-20,3:5-9`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.errors import ConfigError
from sinks.contract import Row, Table

FORMAT = "1"
INTENT_METADATA = re.compile(r"1 (\w+) (\w+) (\d+:\d+-\d+(?:,\d+:\d+-\d+)*)")


class Intent(NamedTuple):
    """One block: `ranges` are first offset and next offset (exclusive) by partition.

    `version` is that of the table's rows. `identity` is random for each intent: offsets start again in a recreated topic, and
    ClickHouse may remember the tokens of the first one.
    """

    version: str
    identity: str
    ranges: Mapping[int, tuple[int, int]]

    def __str__(self) -> str:
        """Return the commit metadata. Kafka allows 4,096 characters, enough for about 80 partitions."""
        return f"{FORMAT} {self.version} {self.identity} {self._spans()}"

    @classmethod
    def read(cls, metadata: str) -> "Intent":
        """Return the intent in commit metadata. Raises ConfigError for any other text."""
        found = INTENT_METADATA.fullmatch(metadata)
        if not found:
            raise ConfigError(
                "the commit metadata of the sink's group come from a newer version or another program: start the version that"
                " wrote them, or reset the offsets of the group to store the records again"
            )
        parts = (re.split("[:-]", span) for span in found[3].split(","))
        return cls(found[1], found[2], {int(number): (int(first), int(end)) for number, first, end in parts})

    def token(self, table: Table) -> str:
        """Return the deduplication token of the whole block. Another version has another token, so it stores all rows itself."""
        return f"{table.name}|{table.topic}|{table.version}|{self.identity}|{self._spans()}"

    def _spans(self) -> str:
        return ",".join(f"{number}:{first}-{end}" for number, (first, end) in sorted(self.ranges.items()))


def make_part_token(token: str, rows: Sequence[Row]) -> str:
    """Return the token of adjacent rows of a block, made from their first and last record."""
    (*_, first_partition, first), (*_, last_partition, last) = rows[0], rows[-1]
    return f"{token}|{first_partition}:{first}..{last_partition}:{last}"
