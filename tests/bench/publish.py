"""Puts records into Kafka before a measurement, as fast as the engine's own way out goes."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from rich.progress import Progress

from schemas.settings import KafkaSettings
from streams.contract import Output
from streams.engine.outbox import Outbox

PIECE = 20_000


def publish(outputs: Iterable[Output], count: int, progress: Progress, what: str) -> None:
    """Send the first `count` of them in order, every one acknowledged; the bar is called `what`."""
    asyncio.run(_publish(outputs, count, progress, what))


async def _publish(outputs: Iterable[Output], count: int, progress: Progress, what: str) -> None:
    task, stream = progress.add_task(what, total=count), islice(outputs, count)
    outbox = await Outbox.open(KafkaSettings())
    try:
        while piece := list(islice(stream, PIECE)):
            progress.advance(task, await outbox.publish(piece))
    finally:
        await outbox.close()
        progress.remove_task(task)
