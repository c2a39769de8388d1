"""What all connectors have in common that ask one account of one server, and map by a `mapping.yaml` beside them."""

from collections.abc import Mapping
from pathlib import Path

from connectors.contract import Cursor, Record, StreamSpec, Window
from connectors.http.client import Client, Headers
from connectors.http.rate_limit import Budget
from connectors.mapping.record_mapping import mapped
from connectors.settings import SourceSettings
from schemas.records.touchpoint import Touchpoint


class Polled:
    """The contract's methods that need nothing of the source; a connector adds `check` and `read`, often `login` and `count`.

    `fix` names what a person must change when the source refuses the credentials.
    """

    def __init__(self, settings: SourceSettings, mapping: Path, *, fix: str) -> None:
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.budget = Budget(settings.requests_per_minute)
        self.client = Client(settings.url, self.budget, timeout=settings.timeout_seconds, fix=fix, login=self.login)
        self.items = mapped(mapping, settings.name)

    def login(self, client: Client) -> Headers:
        """The headers that sign a request; asked for again after a 401."""
        return {}

    def streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Every stream of the mapping, in its order."""
        return list(self.items)

    def spec(self, stream: str) -> StreamSpec:
        """As the mapping says."""
        return self.items[stream].spec

    def touchpoint(self, record: Record) -> Touchpoint:
        """The record mapped. Raises RecordError."""
        return self.items[record.stream].touchpoint(record)

    def count(self, stream: str, window: Window) -> int | None:
        """Unknown, until a connector knows how to ask."""
        return None

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
