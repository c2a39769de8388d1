"""Variants: the command of each, its output topics, and the decoder of its changelog rows."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from schemas.service.connection import KafkaSettings
from schemas.wire.topics import CUSTOMER_STATE, SATISFACTION
from streams.engine.store import decode_stored_row
from streams.engine.worker import GROUP
from tests.bench.plain import stock
from tests.bench.plain.workload import SMALL_TOPIC, TOPIC

ROOT = Path(__file__).parents[3]
QUIX_COMMIT_RECORDS = (0, 50_000)


class Variant(NamedTuple):
    """One engine with its settings. Its `group` commits offsets of `topic`."""

    name: str
    command: list[str | Path]
    topic: str
    group: str
    outputs: str
    changelog: str
    row_of: Callable[[Any], tuple[bytes, bytes] | None]


def module(name: str) -> str:
    return f"tests.bench.plain.{name}"


def floor(count: int, reader: str) -> list[str | Path]:
    """Return the command of the floor with one of its readers. It has neither group nor outputs."""
    return [sys.executable, "-m", module("floor"), KafkaSettings().bootstrap_servers, TOPIC, str(count), reader]


def ours(folder: Path) -> Variant:
    command: list[str | Path] = [sys.executable, "-m", module("ours"), folder / "ours"]
    return Variant("ours", command, TOPIC, GROUP, SATISFACTION, CUSTOMER_STATE, our_row)


def stock_faust(folder: Path) -> Variant:
    outputs, servers = "bench-stock-outputs", KafkaSettings().bootstrap_servers
    command: list[str | Path] = [sys.executable, "-m", module("stock"), servers, SMALL_TOPIC, outputs, folder / "stock"]
    changelog = f"{stock.GROUP}-customers-changelog"
    return Variant("stock Faust", command, SMALL_TOPIC, stock.GROUP, outputs, changelog, lambda raw: (raw.key, raw.value))


def quix(folder: Path, python: Path, every: int) -> Variant:
    """Return Quix Streams with a commit per second, and also after `every` records unless that is 0."""
    outputs, servers = f"bench-quix-{every}", KafkaSettings().bootstrap_servers
    command: list[str | Path] = [python, "-m", module("quix"), servers, TOPIC, outputs, folder / outputs, str(every)]
    name = f"Quix Streams, commit_every={every}"
    return Variant(name, command, TOPIC, outputs, outputs, f"changelog__{outputs}--{TOPIC}--default", quix_row)


def our_row(raw: Any) -> tuple[bytes, bytes] | None:
    """Decode a row of ours, which begins with its last applied offset."""
    stored = decode_stored_row(raw.value)
    return (raw.key, stored[1]) if stored else None


def quix_row(raw: Any) -> tuple[bytes, bytes] | None:
    """Decode a row of Quix Streams, whose key is the message key, a bar and the state key. Other keys are its bookkeeping."""
    key, _, name = raw.key.partition(b"|")
    return (key, raw.value) if b"row" in name else None
