"""Base class of connectors that request one account of one server and map its items by a `mapping.yaml`."""

from collections.abc import Mapping
from pathlib import Path

from connectors.contract import Cursor, Record, StreamSpec, Window
from connectors.http.client import Client, Headers
from connectors.http.rate_limit import RateLimit
from connectors.mapping.record_mapping import load_mappings
from connectors.settings import SourceSettings
from schemas.records.touchpoint import Touchpoint


class HttpConnector:
    """Methods of the contract that do not depend on the source. A connector adds `check` and `read`, often `login` and `count`.

    `credentials_hint` names the setting or variable to change after the source refused the credentials.
    """

    def __init__(self, settings: SourceSettings, mapping: Path, *, credentials_hint: str) -> None:
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit(settings.requests_per_minute)
        self.client = Client(
            settings.url,
            self.rate_limit,
            timeout=settings.timeout_seconds,
            credentials_hint=credentials_hint,
            login=self.login,
        )
        self.mappings = load_mappings(mapping, settings.name)

    def login(self, client: Client) -> Headers:
        """Return the headers that authenticate a request. Called again after a 401."""
        return {}

    def list_streams(self, saved: Mapping[str, Cursor]) -> list[str]:
        """Return all streams of the mapping, in its order."""
        return list(self.mappings)

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the properties that the mapping declares."""
        return self.mappings[stream].spec

    def map_record(self, record: Record) -> Touchpoint:
        """Map the record by the mapping of its stream. Raises RecordError."""
        return self.mappings[record.stream].map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """Return None: a connector whose source can count overrides this method."""
        return None

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
