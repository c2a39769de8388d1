"""One story: a line at work on a stack of its own, injured again and again by a script, then left in peace and judged."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from deploy.demo.flow import open_flow
from deploy.demo.processes import run_touchline
from schemas.errors import RetryableError
from schemas.service.connection import KafkaSettings
from sinks.clickhouse import ClickHouse
from tests.crash.commits import ahead, stored
from tests.crash.drops import NAME, Drops, Poison
from tests.crash.injuries import EVERYTHING, FREEZE, KILL, POINT, Act, Injury, script
from tests.crash.line import Line, LineError
from tests.crash.log import Log, committed
from tests.crash.model import Expected, expect
from tests.crash.points import POINTS
from tests.crash.verdict import Verdict, judge, poisoned
from tests.crash.views import look

FROZEN = {"work": 14.0, "sink": 10.0}
DROP_EVERY = 2.0
LOOK_EVERY = 0.1
WORKS_WITHIN = REACHED_WITHIN = 60.0
TAKEOVERS, TAKEN_OVER_WITHIN = 8, 15.0  # most find their own copy up to date, and pass no point of recovery
AT_WORK = frozenset({"link.acknowledge", "join.acknowledge", "sink.commit"})
SERVES_WITHIN = 60.0
Answer = TypeVar("Answer")
STILL_WITHIN = 60.0


class Told(NamedTuple):
    """What came of a story: injuries by kind, points that were never passed, and the verdict."""

    injuries: Counter[str]
    never_passed: list[str]
    verdict: Verdict
    touchpoints: int


class Story:
    """`watch` is called after each injury with its name."""

    def __init__(self, folder: Path, seed: int, watch: Callable[[str], None], workers: int, sinks: int) -> None:
        self.chance = random.Random(seed)
        self.watch = watch
        self.injuries: Counter[str] = Counter()
        self.drops = Drops(folder, seed)
        self.log = Log()
        self.expected = Expected()
        self.client = ClickHouse()
        self.commits_ahead: list[str] = []
        for client in ("aiokafka", "sinks.kafka"):  # the poison's, which has its trouble while Kafka is away
            logging.getLogger(client).setLevel(logging.CRITICAL)
        run_touchline("migrate")
        self.poison = Poison(seed)
        self.drops.drop()
        self.line = Line(folder, self.drops.settings, workers, sinks)

    def tell(self, acts: list[Act]) -> Told:
        """All acts, the rest of the work, and the verdict."""
        with self.line, closing(self.client):
            asyncio.run(self._play(acts))
            self._drain()
            self.line.stop()
            return self._judge()

    async def _play(self, acts: list[Act]) -> None:
        feeding = asyncio.create_task(self._feed())
        tending = asyncio.create_task(self._tend())
        try:
            started = asyncio.create_task(_until(self._works, WORKS_WITHIN, "no record gets through the line"))
            await _first_error(started, feeding, tending, until=[started])
            for act in acts:
                lanes = [asyncio.create_task(self._lane(injuries)) for injuries in act.values()]
                await _first_error(*lanes, feeding, tending, until=lanes)
                self._everything_at_once()
        finally:
            for task in (feeding, tending):
                task.cancel()

    def _works(self) -> bool:
        return self.line.passed() >= AT_WORK

    async def _feed(self) -> None:
        while True:
            self.drops.drop()
            await self.poison.send()
            await asyncio.sleep(DROP_EVERY)

    async def _tend(self) -> None:
        while True:
            self.line.tend()
            await asyncio.sleep(LOOK_EVERY)

    async def _lane(self, injuries: list[Injury]) -> None:
        inflict = {POINT: self._at_point, KILL: self._kill, FREEZE: self._freeze}
        for injury in injuries:
            await asyncio.sleep(injury.after)
            await inflict[injury.how](injury)

    def _inflicted(self, name: str) -> None:
        self.injuries[name] += 1
        self.watch(name)

    async def _at_point(self, injury: Injury) -> None:
        died = self.line.died
        order = self.line.order(injury.target, injury.point, injury.alive)

        def dead() -> bool:
            return self.line.died > died or not order.exists()

        for _ in range(TAKEOVERS if POINTS[injury.point].takeover else 0):
            await self._kill(Injury(injury.target, KILL))
            with suppress(LineError):
                await _until(dead, TAKEN_OVER_WITHIN, "nobody takes over what it has no copy of")
                break
        await _until(dead, REACHED_WITHIN, f"nobody dies at {injury.point}")
        self._inflicted(f"{POINT} {injury.point}")

    async def _kill(self, injury: Injury) -> None:
        if injury.target in FROZEN or injury.target == "connect":
            await _until(lambda: bool(self.line.of(injury.target)), SERVES_WITHIN, f"no {injury.target} process lives")
            self.chance.choice(self.line.of(injury.target)).kill()
        else:
            await self._serves(injury.target)
            self.line.kill_service(injury.target)
            await asyncio.sleep(1)
            await self._serves(injury.target)
        self._inflicted(f"{KILL} {injury.target}")

    async def _serves(self, service: str) -> None:
        await _until(lambda: self.line.serves(service), SERVES_WITHIN, f"{service} does not come back")

    async def _freeze(self, injury: Injury) -> None:
        """For longer than its group waits: another one takes over, and this one wakes up in the middle of a chunk."""
        await _until(lambda: bool(self.line.of(injury.target)), SERVES_WITHIN, f"no {injury.target} process lives")
        process = self.chance.choice(self.line.of(injury.target))
        process.freeze()
        await asyncio.sleep(FROZEN[injury.target])
        process.thaw()
        self._inflicted(f"{FREEZE} {injury.target}")

    def _everything_at_once(self) -> None:
        """Kill all, and look whether any offset was committed too early: what is missing now is not on its way."""
        self.line.kill_all()
        self.commits_ahead += patiently(self._ahead)
        self._inflicted(f"{KILL} {EVERYTHING}")

    def _ahead(self) -> list[str]:
        offsets = committed()
        self.log.follow()
        return ahead(offsets, self.log, stored(self.client), expect(self.drops.settings, self.expected).rows)

    def _drain(self) -> None:
        """Wait until nothing waits anywhere; where nothing moves any more, what waits is judged as lost."""
        must = sum(totals[0] for totals in expect(self.drops.settings, self.expected).totals.values())
        before, since = None, time.monotonic()
        with open_flow(KafkaSettings(), [NAME]) as reader:
            while time.monotonic() - since < STILL_WITHIN:
                self.line.tend()
                with suppress(RetryableError):
                    flow = reader.read()
                    if flow.sources[0].read == must and not flow.waiting:
                        return
                    before, since = flow, since if flow == before else time.monotonic()
                time.sleep(0.5)

    def _judge(self) -> Told:
        self.commits_ahead += patiently(self._ahead)
        verdict = judge(self.expected, poisoned(self.log), look(self.client, self.log))
        verdict.commits_ahead += dict.fromkeys(self.commits_ahead)
        there = {each.value for entries in self.log.entries.values() for each in entries}
        verdict.dead_letter_mismatches += [f"{each!r} is not on Kafka" for each in self.poison.acknowledged if each not in there]
        return Told(self.injuries, sorted(POINTS.keys() - self.line.passed()), verdict, len(self.expected.touchpoints))


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again while a service is on its way up: a sink that dies while it connects takes this ClickHouse with it."""
    deadline = time.monotonic() + SERVES_WITHIN
    while True:
        try:
            return ask()
        except RetryableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


async def _until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise LineError(f"{otherwise} within {seconds:.0f} s")
        await asyncio.sleep(LOOK_EVERY)


async def _first_error(*tasks: asyncio.Task[None], until: list[asyncio.Task[None]]) -> None:
    """Wait for the tasks of `until`; an error of any task is raised at once."""
    waiting = set(tasks)
    while any(not task.done() for task in until):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def tell(folder: Path, seed: int, kills: int, watch: Callable[[str], None], workers: int = 3, sinks: int = 2) -> Told:
    """A story of so many injuries on the stack that the environment names."""
    return Story(folder, seed, watch, workers, sinks).tell(script(seed, kills))
