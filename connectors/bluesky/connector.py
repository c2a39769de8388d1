"""Connector that reads posts of the AT Protocol from a firehose or a Jetstream by the sequence number of each event.

Guarantee: at least once for the events that the stream still holds; repeated reads have the same event id. Events that the stream
no longer holds are reported as a gap. Deletes: events of the stream.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from connectors.bluesky.frames import POSTS, Frame, create_firehose_parser, parse_jetstream
from connectors.bluesky.settings import BlueskySettings
from connectors.bluesky.websocket import Socket, import_websockets, open_stream, read_server_time
from connectors.contract import UNBOUNDED, Batch, Cursor, Record, StreamSpec, Window
from connectors.errors import CursorExpiredError
from connectors.http.rate_limit import RateLimit
from connectors.mapping.record_mapping import RecordMapping, load_mappings
from schemas.records.fields import milliseconds
from schemas.records.touchpoint import Touchpoint

PATHS = {
    "firehose": "/xrpc/com.atproto.sync.subscribeRepos",
    "jetstream": "/xrpc/network.bsky.jetstream.subscribeEvents",
}
OLDEST = {"firehose": 0, "jetstream": 10**15}
MAX_FRAMES = 2_000


class Connector:
    """One stream of events. Cursor: {seq}, the sequence number of the last event read."""

    settings_model: ClassVar[type[BaseModel]] = BlueskySettings

    def __init__(self, settings: BlueskySettings) -> None:
        import_websockets()
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit(settings.requests_per_minute)
        self.settings = settings
        self._parse: Callable[[Any], Frame] = parse_jetstream if settings.protocol == "jetstream" else create_firehose_parser()
        mapping = load_mappings(Path(__file__).with_name("mapping.yaml"), settings.name)["posts"].mapping
        own = {"system": settings.system, **settings.identifier_settings()}
        self._posts = RecordMapping(settings.name, "posts", mapping.model_copy(update=own))
        self._url = re.sub("^http", "ws", settings.url).rstrip("/") + PATHS[settings.protocol]

    def check(self) -> str:
        """Open the stream. Raises ConfigError with the setting to change."""
        with self._open(None):
            return f"a {self.settings.protocol} at {self.settings.url}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterable[str]:
        """Return the only stream, `posts`."""
        return ["posts"]

    def describe_stream(self, stream: str) -> StreamSpec:
        """Return the properties of the stream: read by the server's time; deletes are separate events."""
        return replace(self._posts.spec, deletes="log")

    def map_record(self, record: Record) -> Touchpoint:
        """Map the event. Raises RecordError."""
        return self._posts.map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """Return None: a stream has no count."""
        return None

    def close(self) -> None:
        """Do nothing: no connection stays open between two rounds."""

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the events from the cursor to the start of the round. Raises CursorExpiredError if the stream lost it."""
        place = seq = cursor["seq"] if cursor else None
        with self._open(self._find_start(window) if place is None else place) as socket:
            now = read_server_time(socket.skew)
            end = min(now, window.end) if window.end else now
            events: list[dict[str, Any]] = []
            read = 0
            for frame in self._read_frames(socket, place, end):
                seq = frame.seq
                events += [event for event in frame.events if self._is_wanted(event, window)]
                read += 1
                if len(events) >= self.settings.batch or read >= MAX_FRAMES:
                    batch = self._create_batch(events, seq, window.progress_at(datetime.fromisoformat(str(frame.time)), end))
                    yield batch
                    events, read = [], 0
        if events or read or cursor is None:
            yield self._create_batch(events, seq, 1.0)

    def _read_frames(self, socket: Socket, place: int | None, end: datetime) -> Iterator[Frame]:
        """Yield the frames after `place` whose time is before `end`. Without a `place` there is no gap to report."""
        for data in socket.read_frames(self.settings.quiet_seconds):
            frame = self._parse(data)
            if frame.lost and place is not None:
                raise CursorExpiredError(f"the stream reports {frame.lost}: events after the saved cursor are lost")
            if frame.seq is None or frame.time is None or (place is not None and frame.seq <= place):
                continue
            if datetime.fromisoformat(frame.time) >= end:
                return
            yield frame

    def _create_batch(self, events: list[dict[str, Any]], seq: int | None, share: float) -> Batch:
        return Batch(self._posts.create_records(events, read_server_time(timedelta(0))), {"seq": seq}, progress=share)

    def _is_wanted(self, event: dict[str, Any], window: Window) -> bool:
        early = window.start and datetime.fromisoformat(event["time"]) < window.start
        return not early and (not self.settings.dids or event["did"] in self.settings.dids)

    def _find_start(self, window: Window) -> int:
        """Return the place to begin without a cursor: a Jetstream accepts a time, a firehose begins with its oldest event."""
        by_time = window.start and self.settings.protocol == "jetstream"
        return milliseconds(window.start) * 1_000 if by_time and window.start else OLDEST[self.settings.protocol]

    def _open(self, seq: int | None) -> Any:
        query = [] if seq is None else [("cursor", str(seq))]
        jet = self.settings.protocol == "jetstream"
        if jet:
            query += [
                ("collections", POSTS),
                ("kinds", "commit"),
                ("kinds", "account"),
                *(("dids", did) for did in self.settings.dids),
            ]
        protocols = ["xrpc.v1.json"] if jet else []
        return open_stream(self._url, query, self.rate_limit, protocols=protocols, timeout=self.settings.timeout_seconds)
