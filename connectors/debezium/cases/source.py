"""Cluster without a broker for `tests/contract/test_connector_cases.py`: each topic is one partition with a case's records.

A key or value that is a text in `rows.json` is used as bytes; any other value is used as JSON. `tests/live/test_debezium.py` uses
real brokers and a real Debezium.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from connectors.debezium.cluster import Cluster, Message, TopicInfo
from connectors.debezium.connector import Connector
from connectors.debezium.settings import DebeziumSettings
from schemas.records.fields import instant


class Rows(Cluster):
    """The records of `rows.json` by topic, each with its Kafka timestamp in milliseconds; `first` is the first offset held."""

    def __init__(self, settings: DebeziumSettings, topics: dict[str, list[dict[str, Any]]]) -> None:
        super().__init__(settings)
        self.id = "1"
        self.first = 0
        self.held = {
            topic: [
                Message(offset, instant(row["at"]), _to_bytes(row["key"]), _to_bytes(row["value"]))
                for offset, row in enumerate(rows)
            ]
            for topic, rows in topics.items()
        }

    def describe_topics(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        return {name: TopicInfo(self.id, (0,)) for name in names if name in self.held}

    def read_bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self.first, len(self.held[topic])

    def find_offset(self, topic: str, partition: int, time: datetime) -> int | None:
        return next((each.offset for each in self.held[topic] if each.time >= time), None)

    def read_messages(self, topic: str, partition: int, offset: int, end: int, size: int) -> Iterator[tuple[list[Message], int]]:
        for begin in range(offset, end, size):
            position = min(begin + size, end)
            yield self.held[topic][begin:position], position


def open_source(rows: Path) -> Connector:
    """Return the connector of a case's `source.yaml` with the records of the case."""
    settings = DebeziumSettings.model_validate(yaml.safe_load(rows.with_name("source.yaml").read_text(encoding="utf-8")))
    return Connector(settings, Rows(settings, json.loads(rows.read_text(encoding="utf-8"))))


def _to_bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else json.dumps(value)).encode()
