"""One run: a script injures a working line on a stack of its own; then the line becomes idle and the results are compared."""

import asyncio
import gc
import logging
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from deploy.demo.flow import open_flow
from deploy.demo.processes import run_touchline
from schemas.errors import RetryableError
from schemas.service.connection import KafkaSettings
from schemas.service.secret import load_secret
from sinks.clickhouse import ClickHouse
from tests.crash.changes import Changes
from tests.crash.commits import find_commits_ahead, read_stored_keys
from tests.crash.drops import NAME, Drops, Poison
from tests.crash.injuries import EVERYTHING, FREEZE, KILL, POINT, Act, Injury, script
from tests.crash.line import Line, LineError
from tests.crash.log import Log, read_committed_offsets
from tests.crash.model import Expected, expect_drops
from tests.crash.points import POINTS
from tests.crash.verdict import Verdict, expect_poison_letters, judge
from tests.crash.views import INCOMPLETE, read_results

CHANGES = ("merge", "split", "join", "undo", "rebuild")
FREEZE_SECONDS = {"work": 14.0, "sink": 10.0}
DROP_SECONDS = 2.0
POLL_SECONDS = 0.1
START_SECONDS = POINT_SECONDS = 60.0
MAX_TAKEOVERS, TAKEOVER_SECONDS = 8, 15.0  # most workers find their own copy up to date and recover nothing
WORKING_POINTS = frozenset({"link.acknowledge", "join.acknowledge", "sink.commit"})
SERVICE_SECONDS = 60.0
MAX_REBUILDS = 5
Answer = TypeVar("Answer")
STANDSTILL_SECONDS = 60.0


@contextmanager
def quiet_clients() -> Iterator[None]:
    """Silence Kafka clients, which log errors while Kafka is down. Other tests of the same process need their log.

    A client whose first connection fails leaves its sockets to the garbage collector.
    """
    levels = {name: logging.getLogger(name).level for name in ("aiokafka", "kafka", "sinks.kafka")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
            yield
            gc.collect()
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class Outcome(NamedTuple):
    """The outcome of a run: injuries by kind, points that no process passed, the verdict, and the changes by kind."""

    injuries: Counter[str]
    never_passed: list[str]
    verdict: Verdict
    touchpoints: int
    changes: dict[str, int]


class Run:
    """One run. `on_injury` receives the name of each injury afterwards."""

    def __init__(self, folder: Path, seed: int, on_injury: Callable[[str], None], workers: int, sinks: int) -> None:
        self.chance = random.Random(seed)
        self.on_injury = on_injury
        self.injuries: Counter[str] = Counter()
        self.drops = Drops(folder, seed)
        self.log = Log()
        self.expected = Expected(load_secret())
        self.client = ClickHouse()
        self.commits_ahead: list[str] = []
        run_touchline("migrate")
        self.poison = Poison(seed)
        self.drops.drop()
        self.changes = Changes(folder, self.drops, self.expected.secret, seed, lambda: self._count_injury(f"{KILL} rebuild"))
        self.expected.decisions = self.changes.decisions
        self.line = Line(folder, self.drops.settings, workers, sinks)

    def play(self, acts: list[Act]) -> Outcome:
        """Run all acts, wait until the line is idle, and compare the results."""
        with quiet_clients(), self.line, closing(self.client):
            asyncio.run(self._run_acts(acts))
            self._wait_until_idle()
            self._rebuild_incomplete()
            self.line.stop()
            return self._judge()

    async def _run_acts(self, acts: list[Act]) -> None:
        feeding = asyncio.create_task(self._feed())
        tending = asyncio.create_task(self._restart_ended())
        others = [feeding, tending]
        try:
            started = asyncio.create_task(_wait_until(self._is_working, START_SECONDS, "no record passes through the line"))
            await _first_error(started, *others, until=[started])
            changing = [asyncio.create_task(each) for each in self.changes.begin()]
            others += changing
            for act in acts:
                tracks = [asyncio.create_task(self._injure(injuries)) for injuries in act.values()]
                await _first_error(*tracks, *others, until=tracks)
                self._kill_everything()
            self.changes.end()
            await _first_error(*others, until=changing)
        finally:
            for task in others:
                task.cancel()

    def _is_working(self) -> bool:
        return self.line.passed() >= WORKING_POINTS

    async def _feed(self) -> None:
        while True:
            self.drops.drop()
            await self.poison.send()
            await asyncio.sleep(DROP_SECONDS)

    async def _restart_ended(self) -> None:
        while True:
            self.line.restart_ended()
            await asyncio.sleep(POLL_SECONDS)

    async def _injure(self, injuries: list[Injury]) -> None:
        inflict = {POINT: self._at_point, KILL: self._kill, FREEZE: self._freeze}
        for injury in injuries:
            await asyncio.sleep(injury.after)
            await inflict[injury.how](injury)

    def _count_injury(self, name: str) -> None:
        self.injuries[name] += 1
        self.on_injury(name)

    async def _at_point(self, injury: Injury) -> None:
        died = self.line.died
        order = self.line.order(injury.target, injury.point, injury.alive)

        def dead() -> bool:
            return self.line.died > died or not order.exists()

        for _ in range(MAX_TAKEOVERS if POINTS[injury.point].takeover else 0):
            await self._kill(Injury(injury.target, KILL))
            with suppress(LineError):
                await _wait_until(dead, TAKEOVER_SECONDS, "no process recovers a partition")
                break
        await _wait_until(dead, POINT_SECONDS, f"no process dies at {injury.point}")
        self._count_injury(f"{POINT} {injury.point}")

    async def _kill(self, injury: Injury) -> None:
        if injury.target in FREEZE_SECONDS or injury.target == "connect":
            await _wait_until(lambda: bool(self.line.of(injury.target)), SERVICE_SECONDS, f"no {injury.target} process is alive")
            self.chance.choice(self.line.of(injury.target)).kill()
        else:
            await self._wait_for_service(injury.target)
            self.line.kill_service(injury.target)
            await asyncio.sleep(1)
            await self._wait_for_service(injury.target)
        self._count_injury(f"{KILL} {injury.target}")

    async def _wait_for_service(self, service: str) -> None:
        await _wait_until(lambda: self.line.is_serving(service), SERVICE_SECONDS, f"{service} does not answer")

    async def _freeze(self, injury: Injury) -> None:
        """Freeze for longer than the session timeout: another process takes over, and this one resumes within a chunk."""
        await _wait_until(lambda: bool(self.line.of(injury.target)), SERVICE_SECONDS, f"no {injury.target} process is alive")
        process = self.chance.choice(self.line.of(injury.target))
        process.freeze()
        await asyncio.sleep(FREEZE_SECONDS[injury.target])
        process.thaw()
        self._count_injury(f"{FREEZE} {injury.target}")

    def _kill_everything(self) -> None:
        """Kill everything and check the commits: no missing result can be on its way now."""
        self.line.kill_all()
        self.commits_ahead += retry_while_down(self._find_commits_ahead)
        self._count_injury(f"{KILL} {EVERYTHING}")

    def _find_commits_ahead(self) -> list[str]:
        offsets = read_committed_offsets()
        self.log.read_new_records()
        return find_commits_ahead(
            offsets, self.log, read_stored_keys(self.client), expect_drops(self.drops.settings, self.expected).rows
        )

    def _wait_until_idle(self) -> None:
        """Wait until no record waits; if nothing moves for a minute, the waiting records count as lost."""
        must = sum(totals[0] for totals in expect_drops(self.drops.settings, self.expected).totals.values())
        before, since = None, time.monotonic()
        with open_flow(KafkaSettings(), [NAME]) as reader:
            while time.monotonic() - since < STANDSTILL_SECONDS:
                self.line.restart_ended()
                with suppress(RetryableError):
                    flow = reader.read()
                    if flow.sources[0].read == must and not flow.waiting:
                        return
                    before, since = flow, since if flow == before else time.monotonic()
                time.sleep(0.5)

    def _rebuild_incomplete(self) -> None:
        """Rebuild the incomplete customers. Those that are incomplete after several rebuilds are mismatches."""
        for _ in range(MAX_REBUILDS):
            if not retry_while_down(lambda: self.client.query(INCOMPLETE).rows):
                return
            process = self.changes.start_rebuild("--incomplete")
            while process.poll() is None:
                self.line.restart_ended()
                time.sleep(POLL_SECONDS)
            self.changes.note_rebuild(process.returncode)
            self._wait_until_idle()

    def _judge(self) -> Outcome:
        self.commits_ahead += retry_while_down(self._find_commits_ahead)
        verdict = judge(self.expected, expect_poison_letters(self.log), read_results(self.client, self.log))
        verdict.commits_ahead += dict.fromkeys(self.commits_ahead)
        there = {each.value for entries in self.log.entries.values() for each in entries}
        verdict.dead_letter_mismatches += [f"{each!r} is not on Kafka" for each in self.poison.acknowledged if each not in there]
        done = {"merge": len(self.log.merged_customers()), **self.changes.done}
        changes = {name: done.get(name, 0) for name in CHANGES}
        missed = sorted(POINTS.keys() - self.line.passed())
        return Outcome(self.injuries, missed, verdict, len(self.expected.touchpoints), changes)


def retry_while_down(ask: Callable[[], Answer]) -> Answer:
    """Repeat while a service restarts: a sink that dies while it connects may end the local ClickHouse."""
    deadline = time.monotonic() + SERVICE_SECONDS
    while True:
        try:
            return ask()
        except RetryableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


async def _wait_until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise LineError(f"{otherwise} within {seconds:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def _first_error(*tasks: asyncio.Task[None], until: list[asyncio.Task[None]]) -> None:
    """Wait for the tasks of `until`; raise the error of any task at once."""
    waiting = set(tasks)
    while any(not task.done() for task in until):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def run_injuries(
    folder: Path, seed: int, kills: int, on_injury: Callable[[str], None], workers: int = 3, sinks: int = 2
) -> Outcome:
    """Run `kills` injuries on the stack that the environment names."""
    return Run(folder, seed, on_injury, workers, sinks).play(script(seed, kills))
