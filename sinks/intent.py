"""What a sink is about to insert, written into the commit metadata of every partition it takes part in before it does.

Whoever owns one of these partitions next reads the same ranges, of all of them, and inserts them under the same token: a block
that was stored is dropped by the server, one that was not is stored. On Kafka it reads `1 <version> <id> 0:10-20,3:5-9`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.errors import ConfigError
from sinks.contract import Row, Table

FORMAT = "1"
WRITTEN = re.compile(r"1 (\w+) (\w+) (\d+:\d+-\d+(?:,\d+:\d+-\d+)*)")


class Intent(NamedTuple):
    """One block: `ranges` are first offset and next offset (exclusive) by partition.

    `version` is the version of the code that made its rows. `identity` is drawn once for each intent: offsets begin again
    where a topic is made anew or a table is filled again, and the server may remember the tokens of the first time.
    """

    version: str
    identity: str
    ranges: Mapping[int, tuple[int, int]]

    def __str__(self) -> str:
        """As it is kept on Kafka, in at most 4,096 characters for about 80 partitions."""
        return f"{FORMAT} {self.version} {self.identity} {self._spans()}"

    @classmethod
    def read(cls, metadata: str) -> "Intent":
        """The other way round. Raises ConfigError for what this software has not written."""
        found = WRITTEN.fullmatch(metadata)
        if not found:
            raise ConfigError(
                "the commit metadata of the sink's group are of a newer version, or not a sink's: start the version that wrote"
                " them, or reset the group's offsets to have the records stored again"
            )
        parts = (re.split("[:-]", span) for span in found[3].split(","))
        return cls(found[1], found[2], {int(number): (int(first), int(end)) for number, first, end in parts})

    def token(self, table: Table) -> str:
        """Of the whole block. Other code has another token: what its predecessor stored or refused counts for nothing."""
        return f"{table.name}|{table.topic}|{table.version}|{self.identity}|{self._spans()}"

    def _spans(self) -> str:
        return ",".join(f"{number}:{first}-{end}" for number, (first, end) in sorted(self.ranges.items()))


def part(token: str, rows: Sequence[Row]) -> str:
    """The token of some neighbouring rows of a block, by the records they came from."""
    (*_, first_partition, first), (*_, last_partition, last) = rows[0], rows[-1]
    return f"{token}|{first_partition}:{first}..{last_partition}:{last}"
