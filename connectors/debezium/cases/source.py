"""A cluster for `tests/contract/test_connector_cases.py`: a case's records, a topic of one partition each, without a broker.

A key or value that is a text in `rows.json` stands for these very bytes, anything else for its JSON. What Kafka and Debezium do
is tested on real ones, in `tests/live/test_debezium.py`.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from connectors.debezium.cluster import Cluster, Known, Message
from connectors.debezium.connector import Connector
from connectors.debezium.settings import DebeziumSettings
from schemas.records.fields import instant


class Rows(Cluster):
    """The records of `rows.json` by topic, each with its time on Kafka in milliseconds; `first` is the first that is held."""

    def __init__(self, settings: DebeziumSettings, topics: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__(settings)
        self.id = "1"
        self.first = 0
        self.held = {
            topic: [
                Message(offset, instant(row["at"]), _bytes(row["key"]), _bytes(row["value"])) for offset, row in enumerate(rows)
            ]
            for topic, rows in topics.items()
        }

    def topics(self, names: Sequence[str]) -> dict[str, Known]:
        return {name: Known(self.id, (0,)) for name in names if name in self.held}

    def extent(self, topic: str, partition: int) -> tuple[int, int]:
        return self.first, len(self.held[topic])

    def at(self, topic: str, partition: int, moment: datetime) -> int | None:
        return next((each.offset for each in self.held[topic] if each.time >= moment), None)

    def messages(self, topic: str, partition: int, offset: int, end: int, size: int) -> Iterator[tuple[list[Message], int]]:
        for begin in range(offset, end, size):
            position = min(begin + size, end)
            yield self.held[topic][begin:position], position


def opened(rows: Path) -> Connector:
    """The connector of a case's `source.yaml` on its records."""
    settings = DebeziumSettings.model_validate(yaml.safe_load(rows.with_name("source.yaml").read_text(encoding="utf-8")))
    return Connector(settings, Rows(settings, json.loads(rows.read_text(encoding="utf-8"))))


def _bytes(said: Any) -> bytes | None:
    if said is None:
        return None
    return (said if isinstance(said, str) else json.dumps(said)).encode()
