"""A process under measurement, seen from outside, so that all are measured in the same way.

The clock runs from the mark `first` (the process has started, joined its group, and has its first record in hand) to the
moment when the broker has the commit of the last offset. Starting and stopping are in nobody's time.
"""

import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import psutil
from kafka import KafkaAdminClient

from schemas.errors import FatalError
from schemas.service.connection import KafkaSettings

LIMIT_SECONDS = 900.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.1


class Figures(NamedTuple):
    """What `records` cost: seconds by the clock, and of the processor in the process and in the broker."""

    records: int
    seconds: float
    cpu_seconds: float
    broker_cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_seconds_per_100k(self) -> float:
        return self.cpu_seconds / self.records * 100_000


class Watched:
    """Runs `command` until the block ends; its standard output is marks, its errors go to `log`."""

    def __init__(self, command: Sequence[str | Path], log: Path, broker: psutil.Process) -> None:
        self._command = command
        self._log = log
        self._broker = broker

    def __enter__(self) -> Self:
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=errors)
        self._limit = threading.Timer(LIMIT_SECONDS, self._process.kill)
        self._limit.start()
        self.process = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait_for(self, mark: str) -> float:
        """Seconds on the monotonic clock when the process said `mark`. Raises FatalError when it ends before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.decode().strip() == mark:
                return time.monotonic()
        raise self._ended(f"before it came to `{mark}`")

    def _ended(self, when: str) -> FatalError:
        command = " ".join(map(str, self._command[:3]))
        return FatalError(f"{command} ended {when}; its last words: {self._log.read_text()[-2_000:]}")

    def spent(self) -> tuple[float, float]:
        """Processor seconds so far: of the process, of the broker."""
        return tuple(sum(each.cpu_times()[:2]) for each in (self.process, self._broker))  # type: ignore[return-value]

    def until_mark(self, mark: str, records: int) -> Figures:
        """From `first` to another mark, for what commits nothing."""
        begin, before = self.wait_for("first"), self.spent()
        return self._figures(records, begin, before, self.wait_for(mark))

    def until_committed(self, group: str, topic: str, records: int, before: int = 0) -> Figures:
        """From `first` until the group has committed `records` records of the topic after the `before` ones of earlier runs.

        Raises FatalError when the process ends meanwhile.
        """
        begin, spent = self.wait_for("first"), self.spent()
        self.wait_for_commit(group, topic, before + records)
        return self._figures(records, begin, spent, time.monotonic())

    def wait_for_commit(self, group: str, topic: str, records: int) -> None:
        """Until the group has committed so many records of the topic. Raises FatalError when the process ends meanwhile."""
        admin = KafkaAdminClient(**KafkaSettings().kafka_python())
        try:
            while committed(admin, group, topic) < records:
                if self._process.poll() is not None:
                    raise self._ended(f"with exit code {self._process.returncode}")
                time.sleep(LOOK_SECONDS)
        finally:
            admin.close()

    def _figures(self, records: int, begin: float, before: tuple[float, float], end: float) -> Figures:
        process, broker = self.spent()
        return Figures(records, end - begin, process - before[0], broker - before[1])


def committed(admin: KafkaAdminClient, group: str, topic: str) -> int:
    """The sum of the committed offsets of the topic's partitions."""
    offsets = admin.list_group_offsets(group)[group]
    return sum(max(0, found.offset) for partition, found in offsets.items() if partition.topic == topic)
