"""Puts records into Kafka: before a measurement as fast as the engine's own way out goes, or during one at a steady rate."""

import asyncio
import time
from collections.abc import Iterable
from itertools import islice

from rich.progress import Progress

from schemas.service.connection import KafkaSettings
from streams.contract import Output
from streams.engine.producer import Producer

PIECE = 20_000
TICKS = 20


def publish(outputs: Iterable[Output], count: int, progress: Progress, what: str, rate: int | None = None) -> None:
    """Send the first `count` of them in order, every one acknowledged; the bar is called `what`.

    With `rate` so many a second, a twentieth of them every twentieth second.
    """
    asyncio.run(_publish(outputs, count, progress, what, rate))


async def _publish(outputs: Iterable[Output], count: int, progress: Progress, what: str, rate: int | None) -> None:
    task, stream = progress.add_task(what, total=count), islice(outputs, count)
    producer = await Producer.open(KafkaSettings())
    begin, sent = time.monotonic(), 0
    try:
        while sent < count:
            due = PIECE if rate is None else int((time.monotonic() - begin) * rate) - sent
            published = await producer.publish(islice(stream, due))
            sent += published
            progress.advance(task, published)
            if rate is not None:
                await asyncio.sleep(1 / TICKS)
    finally:
        await producer.close()
        progress.remove_task(task)
