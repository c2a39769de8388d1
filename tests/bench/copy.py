"""Copy of the identity map: time to load it into an empty folder, bytes per identifier, and cost of a lookup.

The topic has one `member` record per identifier and no older versions, as after compaction. The copy is loaded in this process,
alone. Kafka runs on the same machine.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from deploy.topics import ensure_topics
from schemas.records.identifiers import identifier_id
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode, make_field_decoder
from schemas.wire.topics import IDENTITY
from streams.contract import Output
from streams.engine.replica import Replica
from tests.bench.publish import publish
from tests.harness.stack import running_stack

SECRET = b"secret of the benchmark"
LOOKUPS = 200_000
MICROSECONDS = 1_000_000
decode = make_field_decoder({"member": ("customer_id", "is_shared", "is_erased")})


def make_members(count: int) -> Iterator[Output]:
    """Yield the records of `count` identifiers, each of a customer of its own."""
    for number in range(count):
        value = f"c{number}@example.org"
        node = identifier_id(SECRET, "email", value)
        fields = {
            "identifier_id": node,
            "kind": "email",
            "value": value,
            "customer_id": node,
            "is_shared": False,
            "is_erased": False,
            "rule": "exact-identifier",
            "event_id": node,
            "at": 1_760_000_000_000 + number,
        }
        yield Output(IDENTITY, 0, b"n" + node, encode("member", fields))


def extract(value: bytes) -> bytes:
    """Return the row of a member: its customer and a byte of flags."""
    customer_id, is_shared, is_erased = decode(value)[1]
    return bytes(customer_id) + bytes((is_shared + 2 * is_erased,))


async def load(copy: Replica) -> None:
    """Load the copy to the end of the topic."""
    following = asyncio.create_task(copy.follow(KafkaSettings()))
    while not copy.is_loaded:
        await asyncio.sleep(0.05)
        assert not following.done()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


def measure(console: Console, count: int) -> dict[str, float]:
    """Return the figures of a topic with `count` identifiers. The stack must be new."""
    ensure_topics(KafkaSettings(), dry_run=False)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        publish(make_members(count), count, progress, f"{count:,} identifiers: publish")
        copy = Replica(IDENTITY, Path(folder) / "copy", extract)
        begin, spent = time.monotonic(), time.process_time()
        asyncio.run(load(copy))
        seconds, cpu = time.monotonic() - begin, time.process_time() - spent
        disk = sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())
        chance = random.Random(1)
        keys = [b"n" + identifier_id(SECRET, "email", f"c{chance.randrange(count)}@example.org") for _ in range(LOOKUPS)]
        begin = time.process_time()
        assert all(map(copy.get, keys))
        lookup = (time.process_time() - begin) / LOOKUPS
    figures = {
        "copy_load_seconds": seconds,
        "copy_load_rows_per_second": count / seconds,
        "copy_load_cpu_microseconds_per_row": cpu / count * MICROSECONDS,
        "copy_disk_bytes_per_identifier": disk / count,
        "copy_lookup_cpu_microseconds": lookup * MICROSECONDS,
    }
    for name, figure in figures.items():
        console.print(f"{name:40}{figure:14,.2f}")
    return figures


@click.command()
@click.option("--identifiers", default=1_000_000, show_default=True, type=click.IntRange(min=1_000), help="Size of the map.")
def main(identifiers: int) -> None:
    """Measure the copy of the identity map.

    Example: python -m tests.bench.copy --identifiers 10000000
    """
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)):
        measure(Console(), identifiers)


if __name__ == "__main__":
    main()
