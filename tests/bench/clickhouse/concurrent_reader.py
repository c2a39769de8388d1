"""A reader that runs queries while others write."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse.questions import Question

PAUSE = 0.5


@contextmanager
def read_concurrently(questions: Sequence[Question]) -> Iterator[dict[str, list[float]]]:
    """Run one question after the other in a thread, half a second apart, until the block ends; collect the seconds by name.

    The answers are not compared: they change during the query.
    """
    seconds: dict[str, list[float]] = {question.name: [] for question in questions}
    stop = threading.Event()

    def ask() -> None:
        client = ClickHouse()
        try:
            for each in zip(*(cycle(question.parameters) for question in questions), strict=True):
                for question, parameters in zip(questions, each, strict=True):
                    if stop.wait(PAUSE):
                        return
                    began = time.perf_counter()
                    client.query(question.sql, parameters)
                    seconds[question.name].append(time.perf_counter() - began)
        finally:
            client.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        asking = pool.submit(ask)
        try:
            yield seconds
        finally:
            stop.set()
        asking.result()
