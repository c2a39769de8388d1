"""An HTTP server that others send their events to.

Guarantee: at least once, exact by event id, for every request that was answered with 2xx: the answer waits for Kafka's
acknowledgement. Whoever is told 503 or 429, or nothing, sends again, and the same event is the same touchpoint. There is no
cursor, and nothing is on disk: what was not acknowledged is still the sender's.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Record, StreamSpec, Window
from connectors.http.rate_limit import RateLimit
from connectors.intake.admission import Gate
from connectors.intake.inbox import Inbox
from connectors.intake.schemes import SCHEMES
from connectors.intake.server import Server
from connectors.intake.settings import Endpoint, IntakeSettings
from connectors.mapping.functions import to_text
from connectors.mapping.touchpoint_mapping import TouchpointMapping
from schemas.errors import ConfigError
from schemas.records.families import FAMILIES
from schemas.records.touchpoint import Touchpoint

ROUND_SECONDS = 0.5
PREVIEW_SECONDS = 1.0
MOST_MORE, LONGEST_NAME, LONGEST_VALUE = 50, 200, 4_096
IDENTIFYING = frozenset({"email", "phone"})
DEFAULTS = yaml.safe_load(Path(__file__).with_name("mapping.yaml").read_text(encoding="utf-8"))


class Connector:
    """One server; its endpoints are its streams, each read a batch at a time. There is no cursor."""

    settings_model: ClassVar[type[BaseModel]] = IntakeSettings

    def __init__(self, settings: IntakeSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.poll_seconds = 0.0
        self.start: datetime | None = None
        self.rate_limit = RateLimit()
        self._inbox = Inbox(settings.most_waiting)
        self._mappings = {name: _mapping(settings.name, name, endpoint) for name, endpoint in settings.endpoints.items()}
        self._sources = {name: _source(name, endpoint) for name, endpoint in settings.endpoints.items()}
        self._server: Server | None = None
        self._keep = True

    def check(self) -> str:
        """The endpoints and where each is sent to. Raises ConfigError where one has no key."""
        return ", ".join(f"{name} at {path}" for name, path in self._gate().paths().items())

    def listen(self, *, acknowledge: bool) -> str:
        """Open the server, once, and return its address."""
        if self._server is None:
            self._keep = acknowledge
            self._server = Server(self.settings, self._gate(), self._inbox, keep=acknowledge)
            self._server.start()
        return f"http://{self.settings.host}:{self._server.port}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterator[str]:
        """The endpoints in which something waits, after half a second at most; for a preview, a second after the first came."""
        if not self._keep:
            self._inbox.waiting(None)
            time.sleep(PREVIEW_SECONDS)
        yield from self._inbox.waiting(ROUND_SECONDS)

    def describe_stream(self, stream: str) -> StreamSpec:
        """The endpoint's event family; nothing tells of deletes but its own events."""
        return StreamSpec(self._sources[stream])

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """One batch of what waits. Asked to go on, its senders are told that it is kept; abandoned, to send again."""
        entries, kept = self._inbox.take(stream), False
        try:
            if entries:
                yield Batch([record for _, record in entries], {}, progress=1.0)
            kept = True
        finally:
            self._inbox.settle(entries, kept=kept)

    def map_record(self, record: Record) -> Touchpoint:
        """The event mapped, with its properties as attributes. Raises RecordError."""
        more = _attributes(record.data.get("more"))
        return self._mappings[record.stream].create_touchpoint(record.key, record.version, record.data, record.read_at, more)

    def count(self, stream: str, window: Window) -> int | None:
        """Unknown: senders are not asked."""
        return None

    def close(self) -> None:
        """Stop listening; whoever waits is told to send again."""
        if self._server is not None:
            self._server.stop()

    def _gate(self) -> Gate:
        columns = {name: frozenset(DEFAULTS[endpoint.mapping]["columns"]) for name, endpoint in self.settings.endpoints.items()}
        return Gate(self.settings, columns)


def _mapping(connector: str, name: str, endpoint: Endpoint) -> TouchpointMapping:
    default = DEFAULTS[endpoint.mapping]
    scheme = SCHEMES.get(endpoint.protocol)
    occurred = {"occurred_at": scheme.occurred_at} if scheme else {}
    return TouchpointMapping(
        connector=connector,
        feed=name,
        where=f"endpoints.{name}.map",
        source=_source(name, endpoint),
        system=endpoint.system,
        columns=frozenset(default["columns"]),
        fields={**default["map"], **occurred, **endpoint.map},
    )


def _source(name: str, endpoint: Endpoint) -> str:
    source: str = endpoint.source or DEFAULTS[endpoint.mapping].get("source", "")
    if source not in FAMILIES:
        raise ConfigError(f"endpoints.{name}.source: must be one of {', '.join(FAMILIES)}")
    return source


def _attributes(more: Any) -> dict[str, str]:
    """Properties as far as attributes can hold them, at most 50; what identifies somebody is an identifier, and no attribute."""
    found: dict[str, str] = {}
    for name, value in more.items() if isinstance(more, dict) else ():
        text = to_text(value) if value is not None else ""
        fits = 0 < len(name) <= LONGEST_NAME and len(text) <= LONGEST_VALUE and len(found) < MOST_MORE
        if text and fits and name not in IDENTIFYING:
            found[name] = text
    return found
