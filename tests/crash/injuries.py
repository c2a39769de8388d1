"""The script of a run: injuries, targets and their order. The same seed gives the same script."""

import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

from tests.crash.points import POINTS

KILL, FREEZE, POINT = "SIGKILL", "SIGSTOP", "crash point"
EVERYTHING = "everything at once"
TRACKS = {"work": "work", "sink": "sink", "connect": "connect", "kafka": "service", "clickhouse": "service"}
DECK = (
    ("kafka", KILL), ("clickhouse", KILL), ("work", FREEZE), ("work", POINT), ("work", KILL), ("sink", POINT), ("connect", POINT),
    ("sink", KILL), ("work", POINT), ("connect", KILL), ("sink", FREEZE), ("work", POINT), ("work", KILL), ("sink", POINT),
    ("work", POINT), ("work", KILL), ("connect", POINT), ("work", POINT), ("work", KILL),
)  # fmt: skip
ACT = len(DECK) + 1
"""Number of injuries of one act: a deck, then everything is killed at once."""


class Injury(NamedTuple):
    """One injury of `target`, `after` seconds after the previous one. It dies at `point` after `alive` passes."""

    target: str
    how: str
    after: float = 0.0
    point: str = ""
    alive: int = 0


Act = dict[str, list[Injury]]
"""Tracks run side by side: workers, sinks, the connector, and the services. The injuries of a track follow one another."""


def script(seed: int, kills: int) -> list[Act]:
    """Return acts with `kills` injuries in total; killing everything at the end of an act counts as one."""
    chance = random.Random(seed)
    points = {kind: _points(chance, kind) for kind in ("work", "sink", "connect")}
    acts: list[Act] = []
    while kills > 0:
        acts.append(defaultdict(list))
        hand = list(DECK[: min(kills, ACT) - 1])
        chance.shuffle(hand)
        for target, how in hand:
            point = next(points[target]) if how == POINT else ""
            after, alive = chance.uniform(0.3, 3.0), chance.randrange(4)
            alive = 0 if point and POINTS[point].takeover else alive
            acts[-1][TRACKS[target]].append(Injury(target, how, after, point, alive))
        kills -= ACT
    return acts


def _points(chance: random.Random, kind: str) -> Iterator[str]:
    """Yield all points of a kind of process in a random order, repeatedly."""
    names = [point.name for point in POINTS.values() if point.kind == kind]
    chance.shuffle(names)
    return cycle(names)
