"""Measurement of a process from outside, the same way for all variants.

The clock runs from the mark `first` (the process has joined its group and has its first record) until the broker has the
commit of the last offset. Start and stop are not measured.
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

MAX_SECONDS = 900.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.1


class Figures(NamedTuple):
    """Cost of `records`: seconds by the clock, and processor seconds of the process and of the broker."""

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


class MeasuredProcess:
    """Process that runs `command` until the block ends. Its standard output holds marks, its errors go to `log`."""

    def __init__(self, command: Sequence[str | Path], log: Path, broker: psutil.Process) -> None:
        self._command = command
        self._log = log
        self._broker = broker

    def __enter__(self) -> Self:
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=errors)
        self._limit = threading.Timer(MAX_SECONDS, self._process.kill)
        self._limit.start()
        self.process = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait_for(self, mark: str) -> float:
        """Return the monotonic time of a mark. Raises FatalError when the process ends before it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.decode().strip() == mark:
                return time.monotonic()
        raise self._ended(f"before its mark `{mark}`")

    def _ended(self, when: str) -> FatalError:
        command = " ".join(map(str, self._command[:3]))
        return FatalError(f"{command} ended {when}; end of its log: {self._log.read_text()[-2_000:]}")

    def cpu_times(self) -> tuple[float, float]:
        """Return the processor seconds so far, of the process and of the broker."""
        return tuple(sum(each.cpu_times()[:2]) for each in (self.process, self._broker))  # type: ignore[return-value]

    def until_mark(self, mark: str, records: int) -> Figures:
        """Measure from `first` to another mark, for a process that commits nothing."""
        begin, before = self.wait_for("first"), self.cpu_times()
        return self._figures(records, begin, before, self.wait_for(mark))

    def until_committed(self, group: str, topic: str, records: int, before: int = 0) -> Figures:
        """Measure from `first` until the group has committed `records` records after the `before` ones of earlier runs.

        Raises FatalError when the process ends earlier.
        """
        begin, spent = self.wait_for("first"), self.cpu_times()
        self.wait_for_commit(group, topic, before + records)
        return self._figures(records, begin, spent, time.monotonic())

    def wait_for_commit(self, group: str, topic: str, records: int) -> None:
        """Wait until the group has committed `records` records of the topic. Raises FatalError when the process ends earlier."""
        admin = KafkaAdminClient(**KafkaSettings().kafka_python())
        try:
            while sum_committed(admin, group, topic) < records:
                if self._process.poll() is not None:
                    raise self._ended(f"with exit code {self._process.returncode}")
                time.sleep(POLL_SECONDS)
        finally:
            admin.close()

    def _figures(self, records: int, begin: float, before: tuple[float, float], end: float) -> Figures:
        process, broker = self.cpu_times()
        return Figures(records, end - begin, process - before[0], broker - before[1])


def sum_committed(admin: KafkaAdminClient, group: str, topic: str) -> int:
    """Return the sum of the committed offsets of the topic's partitions."""
    offsets = admin.list_group_offsets(group)[group]
    return sum(max(0, each.offset) for partition, each in offsets.items() if partition.topic == topic)
