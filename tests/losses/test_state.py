"""Records that are repeated because a worker died after its state was written and before its offset was committed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import faust
import pytest

from schemas.wire.topics import RESOLVED
from streams.engine import store, transport
from streams.engine.stage import Stage
from streams.signals import load_signals
from streams.steps.customer import decode_customer
from streams.steps.join import Join
from tests.harness.chain import Chain
from tests.losses.line import Partition, running
from tests.losses.work import Work, value

TOUCHPOINTS = 3


class Count(Work):
    """Work that counts in a table and then blocks, like a worker that was killed."""

    async def open(self, app: Any) -> None:
        self.counts = app.Table("counts", default=int, partitions=1)

    def fold(self, number: int) -> None:
        self.counts["customer"] += 1
        self.count: int = self.counts["customer"]

    async def send(self, number: int) -> None:
        await super().send(number)
        if number == TOUCHPOINTS - 1:
            await asyncio.Event().wait()

    def all_sent(self) -> bool:
        return len(self.sent) == TOUCHPOINTS

    async def close(self) -> None:
        await self.counts.data.stop()


async def stock(folder: Path) -> int:
    """Return the count in Faust's table after two runs on the same local copy."""
    for _ in range(2):
        work = Count()
        source = Partition([value(number) for number in range(TOUCHPOINTS)])
        async with running("stock", source, work, store="rocksdb://", datadir=str(folder)) as line:
            await line.until(work.all_sent)
    return work.count


class FakeProducer:
    """Producer that acknowledges everything and numbers the changelog rows."""

    def __init__(self) -> None:
        self.end = 0

    async def publish(self, outputs: list[Any]) -> int:
        return len(outputs)

    async def publish_rows(self, topic: str, partition: int, rows: list[Any], row_group_prefix_bytes: int) -> tuple[int, int]:
        first, self.end = self.end, self.end + len(rows)
        return first, self.end - 1


async def ours(folder: Path) -> int:
    """Return the count in the customer's row after two runs without an acknowledgement."""
    producer: Any = FakeProducer()
    source = Partition(resolved())
    for _ in range(2):
        app = faust.App("state", broker=f"{transport.SCHEME}://localhost:1", store=f"{store.SCHEME}://", datadir=str(folder))
        table: Any = app.Table("customers", partitions=8, key_type=bytes, value_type=bytes)
        stage = Stage(Join(load_signals()), partial(getattr, table, "data"), lambda: producer)
        await stage.process_chunk([replace(record, topic=RESOLVED) for record in source.records], 0)
        [(_, row)] = table.data.scan(0)
        await table.data.stop()
    return decode_customer(row).folded


def resolved() -> list[bytes]:
    """Return the `resolved` records of one customer's touchpoints."""
    chain = Chain()
    for number in range(TOUCHPOINTS):
        chain.feed(
            {
                "event_id": bytes([number]) * 16,
                "source": "erp",
                "system": "test",
                "connector": "test",
                "type": "order.placed",
                "channel": "web",
                "occurred_at": 1_700_000_000_000 + number,
                "received_at": 1_800_000_000_000,
                "identifiers": [{"kind": "email", "value": "a@example.org"}],
                "attributes": {},
            }
        )
    chain.run()
    return [each for (topic, _), log in chain.topics.items() if topic == RESOLVED for each in log]


@pytest.mark.parametrize(("engine", "count"), [(stock, 2 * TOUCHPOINTS), (ours, TOUCHPOINTS)])
def test_repeated_records_count_once_after_a_crash(engine: Callable[[Path], Awaitable[int]], count: int, tmp_path: Path) -> None:
    async def scenario() -> int:
        return await engine(tmp_path)

    assert asyncio.run(scenario()) == count
