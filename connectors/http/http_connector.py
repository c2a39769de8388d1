"""What all connectors have in common that ask one account of one server, and map by a `mapping.yaml` beside them."""

from collections.abc import Mapping
from pathlib import Path

from connectors.contract import Cursor, Record, StreamSpec, Window
from connectors.http.client import Client, Headers
from connectors.http.rate_limit import RateLimit
from connectors.mapping.record_mapping import load_mappings
from connectors.settings import SourceSettings
from schemas.records.touchpoint import Touchpoint


class HttpConnector:
    """The contract's methods that need nothing of the source; a connector adds `check` and `read`, often `login` and `count`.

    `credentials_hint` names what a person must change when the source refuses the credentials.
    """

    def __init__(self, settings: SourceSettings, mapping: Path, *, credentials_hint: str) -> None:
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit(settings.requests_per_minute)
        self.client = Client(
            settings.url, self.rate_limit, timeout=settings.timeout_seconds, credentials_hint=credentials_hint, login=self.login
        )
        self.mappings = load_mappings(mapping, settings.name)

    def login(self, client: Client) -> Headers:
        """The headers that sign a request; asked for again after a 401."""
        return {}

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Every stream of the mapping, in its order."""
        return list(self.mappings)

    def describe_stream(self, stream: str) -> StreamSpec:
        """As the mapping says."""
        return self.mappings[stream].spec

    def map_record(self, record: Record) -> Touchpoint:
        """The record mapped. Raises RecordError."""
        return self.mappings[record.stream].map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """Unknown, until a connector knows how to ask."""
        return None

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
