"""Publisher of records: as fast as the engine's producer before a measurement, or at a steady rate during one."""

import asyncio
import time
from collections.abc import Iterable
from itertools import islice

from rich.progress import Progress

from schemas.service.connection import KafkaSettings
from streams.contract import Output
from streams.engine.producer import Producer

MAX_RECORDS_AT_ONCE = 20_000
PARTS_PER_SECOND = 20


def publish(outputs: Iterable[Output], count: int, progress: Progress, label: str, rate: int | None = None) -> None:
    """Send the first `count` outputs in order and wait for the acknowledgements. The progress bar is named `label`.

    With `rate`, send that many per second, in twenty parts.
    """
    asyncio.run(_publish(outputs, count, progress, label, rate))


async def _publish(outputs: Iterable[Output], count: int, progress: Progress, label: str, rate: int | None) -> None:
    task, stream = progress.add_task(label, total=count), islice(outputs, count)
    producer = await Producer.open(KafkaSettings())
    begin, sent = time.monotonic(), 0
    try:
        while sent < count:
            due = MAX_RECORDS_AT_ONCE if rate is None else int((time.monotonic() - begin) * rate) - sent
            published = await producer.publish(islice(stream, due))
            sent += published
            progress.advance(task, published)
            if rate is not None:
                await asyncio.sleep(1 / PARTS_PER_SECOND)
    finally:
        await producer.close()
        progress.remove_task(task)
