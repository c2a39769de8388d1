"""Posts of the AT Protocol, read from a server's firehose or from a Jetstream by the place of each event in it.

Guarantee: at least once, exact by event id, for what the stream still holds; what it has forgotten is a gap. Deletes: a log.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from connectors.bluesky.frames import POSTS, Frame, expired, firehose, jetstream
from connectors.bluesky.settings import BlueskySettings
from connectors.bluesky.wire import Socket, clock, library, opened
from connectors.contract import UNBOUNDED, Batch, Cursor, Record, StreamSpec, Window
from connectors.http.rate_limit import RateLimit
from connectors.mapping.record_mapping import RecordMapping, load_mappings
from schemas.records.fields import milliseconds
from schemas.records.touchpoint import Touchpoint

PATHS = {
    "firehose": "/xrpc/com.atproto.sync.subscribeRepos",
    "jetstream": "/xrpc/network.bsky.jetstream.subscribeEvents",
}
OLDEST = {"firehose": 0, "jetstream": 10**15}
MOST_FRAMES = 2_000


class Connector:
    """One stream of events. Cursor: {seq}, the place of the last one read."""

    settings_model: ClassVar[type[BaseModel]] = BlueskySettings

    def __init__(self, settings: BlueskySettings) -> None:
        library()
        self.name, self.poll_seconds, self.start = settings.name, settings.poll_seconds, settings.start
        self.rate_limit = RateLimit(settings.requests_per_minute)
        self.settings = settings
        self._frame: Callable[[Any], Frame] = jetstream if settings.protocol == "jetstream" else firehose()
        mapping = load_mappings(Path(__file__).with_name("mapping.yaml"), settings.name)["posts"].mapping
        self._posts = RecordMapping(settings.name, "posts", mapping.model_copy(update={"system": settings.system}))
        self._url = re.sub("^http", "ws", settings.url).rstrip("/") + PATHS[settings.protocol]

    def check(self) -> str:
        """Opens the stream. Raises ConfigError with what to change."""
        with self._opened(None):
            return f"a {self.settings.protocol} at {self.settings.url}"

    def list_streams(self, saved: Mapping[str, Cursor]) -> Iterable[str]:
        """`posts` alone."""
        return ["posts"]

    def describe_stream(self, stream: str) -> StreamSpec:
        """By the server's time; deletes are events of their own."""
        return replace(self._posts.spec, deletes="log")

    def map_record(self, record: Record) -> Touchpoint:
        """The event mapped. Raises RecordError."""
        return self._posts.map_record(record)

    def count(self, stream: str, window: Window) -> int | None:
        """A stream does not count."""
        return None

    def close(self) -> None:
        """Nothing stays open between two rounds."""

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The events after the cursor until the time at which the round began. Raises CursorExpiredError for a lost place."""
        place = seq = cursor["seq"] if cursor else None
        with self._opened(self._first(window) if place is None else place) as socket:
            now = clock(socket.skew)
            end = min(now, window.end) if window.end else now
            events: list[dict[str, Any]] = []
            read = 0
            for frame in self._frames(socket, place, end):
                seq = frame.seq
                events += [event for event in frame.events if self._wanted(event, window)]
                read += 1
                if len(events) >= self.settings.batch or read >= MOST_FRAMES:
                    batch = self._batch(events, seq, window.progress_at(datetime.fromisoformat(str(frame.time)), end))
                    yield batch
                    events, read = [], 0
        if events or read or cursor is None:
            yield self._batch(events, seq, 1.0)

    def _frames(self, socket: Socket, place: int | None, end: datetime) -> Iterator[Frame]:
        """The frames after `place` and from before `end`; without a place it is no loss that the oldest ones are forgotten."""
        for data in socket.frames(self.settings.quiet_seconds):
            frame = self._frame(data)
            if frame.lost and place is not None:
                raise expired(frame)
            if frame.seq is None or frame.time is None or (place is not None and frame.seq <= place):
                continue
            if datetime.fromisoformat(frame.time) >= end:
                return
            yield frame

    def _batch(self, events: list[dict[str, Any]], seq: int | None, share: float) -> Batch:
        return Batch(self._posts.create_records(events, clock(timedelta(0))), {"seq": seq}, progress=share)

    def _wanted(self, event: dict[str, Any], window: Window) -> bool:
        early = window.start and datetime.fromisoformat(event["time"]) < window.start
        return not early and (not self.settings.dids or event["did"] in self.settings.dids)

    def _first(self, window: Window) -> int:
        """Where to begin without a cursor: a Jetstream can be asked by time, a firehose begins with the oldest that it holds."""
        by_time = window.start and self.settings.protocol == "jetstream"
        return milliseconds(window.start) * 1_000 if by_time and window.start else OLDEST[self.settings.protocol]

    def _opened(self, seq: int | None) -> Any:
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
        return opened(self._url, query, self.rate_limit, protocols=protocols, timeout=self.settings.timeout_seconds)
