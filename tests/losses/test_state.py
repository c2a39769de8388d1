"""A worker dies after it has written its state and before the offset is committed: the records come again."""

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
    """Counts in a table, then waits for ever, as if it was killed then."""

    async def open(self, app: Any) -> None:
        self.counts = app.Table("counts", default=int, partitions=1)

    def fold(self, number: int) -> None:
        self.counts["customer"] += 1
        self.counted: int = self.counts["customer"]

    async def send(self, number: int) -> None:
        await super().send(number)
        if number == TOUCHPOINTS - 1:
            await asyncio.Event().wait()

    def all_sent(self) -> bool:
        return len(self.sent) == TOUCHPOINTS

    async def close(self) -> None:
        await self.counts.data.stop()


async def stock(folder: Path) -> int:
    """How many touchpoints Faust's table counts: stock store, the same local copy both times."""
    for _ in range(2):
        work = Count()
        source = Partition([value(number) for number in range(TOUCHPOINTS)])
        async with running("stock", source, work, store="rocksdb://", datadir=str(folder)) as line:
            await line.until(work.all_sent)
    return work.counted


class Out:
    """Stands where the producer stands: acknowledges everything and gives changelog rows their offsets."""

    def __init__(self) -> None:
        self.end = 0

    async def publish(self, outputs: list[Any]) -> int:
        return len(outputs)

    async def publish_rows(self, topic: str, partition: int, rows: list[Any], row_group_prefix_bytes: int) -> tuple[int, int]:
        first, self.end = self.end, self.end + len(rows)
        return first, self.end - 1


async def ours(folder: Path) -> int:
    """How many touchpoints the customer's row counts; `take` is everything but the acknowledgement."""
    out: Any = Out()
    source = Partition(resolved())
    for _ in range(2):
        app = faust.App("state", broker=f"{transport.SCHEME}://localhost:1", store=f"{store.SCHEME}://", datadir=str(folder))
        table: Any = app.Table("customers", partitions=8, key_type=bytes, value_type=bytes)
        stage = Stage(Join(load_signals()), partial(getattr, table, "data"), lambda: out)
        await stage.process_chunk([replace(record, topic=RESOLVED) for record in source.records], 0)
        [(_, row)] = table.data.scan(0)
        await table.data.stop()
    return decode_customer(row).folded


def resolved() -> list[bytes]:
    """Touchpoints of one customer, as the chain resolves them."""
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


@pytest.mark.parametrize(("engine", "counted"), [(stock, 2 * TOUCHPOINTS), (ours, TOUCHPOINTS)])
def test_records_that_come_again_after_a_crash_count_once(
    engine: Callable[[Path], Awaitable[int]], counted: int, tmp_path: Path
) -> None:
    async def scenario() -> int:
        return await engine(tmp_path)

    assert asyncio.run(scenario()) == counted
