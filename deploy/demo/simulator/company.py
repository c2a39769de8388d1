"""The whole company: all lives, each from its own random numbers, so that one customer more changes no other life."""

from collections.abc import Hashable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from deploy.demo.simulator import drops, truth
from deploy.demo.simulator.life import Life, live
from deploy.demo.simulator.parameters import DEFAULTS, Parameters
from deploy.demo.simulator.people import person
from deploy.demo.simulator.supply import Supply
from deploy.demo.simulator.vendors import render
from deploy.demo.simulator.vendors.record import Record

TWICE = (20, 40)


class Simulated(NamedTuple):
    """Lives and the records that systems exported of them, in order of time."""

    lives: list[Life]
    records: list[Record]


def simulate(seed: int, customers: int, until: datetime, parameters: Parameters = DEFAULTS) -> Simulated:
    """`customers` lives over the `parameters.months` before `until`. The same arguments give the same result."""
    start = until - timedelta(days=30.4375 * parameters.months)
    supply = Supply(numbers(seed, "supply"), parameters, start, until)
    lives = []
    for number in range(1, customers + 1):
        rng = numbers(seed, "customer", number)
        lives.append(live(person(number, rng, parameters, twice=number in TWICE), rng, supply, parameters, start, until))
    happenings = sorted((one for life in lives for one in life.happenings), key=lambda one: (one.at, one.person.number, one.type))
    return Simulated(lives, list(render(happenings, numbers(seed, "vendors"))))


def numbers(*seed: Hashable) -> Random:
    """The random numbers of one corner of the company: the same for the same seed, whatever happens elsewhere."""
    return Random("/".join(map(str, seed)))  # noqa: S311 a simulation, not a secret


def generate(seed: int, customers: int, until: datetime, folder: Path) -> int:
    """Write the simulated company's `drops/` and `truth/` below `folder`; returns the number of records."""
    simulated = simulate(seed, customers, until)
    drops.write(simulated.records, folder / "drops")
    truth.write(simulated.lives, simulated.records, folder / "truth", until)
    return len(simulated.records)
