"""The whole company. Each life has its own random numbers, so an additional customer changes no other life."""

from collections.abc import Hashable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from deploy.demo.simulator import drops, truth
from deploy.demo.simulator.life import Life, simulate_life
from deploy.demo.simulator.parameters import DEFAULTS, Parameters
from deploy.demo.simulator.people import create_person
from deploy.demo.simulator.supply import Supply
from deploy.demo.simulator.vendors import render
from deploy.demo.simulator.vendors.record import Record

DUPLICATED = (20, 40)


class Simulated(NamedTuple):
    """Lives, and the exported records of them in order of time."""

    lives: list[Life]
    records: list[Record]


def simulate(seed: int, customers: int, until: datetime, parameters: Parameters = DEFAULTS) -> Simulated:
    """Simulate `customers` lives over the `parameters.months` before `until`. The same arguments give the same result."""
    start = until - timedelta(days=30.4375 * parameters.months)
    supply = Supply(random_numbers(seed, "supply"), parameters, start, until)
    lives = []
    for number in range(1, customers + 1):
        rng = random_numbers(seed, "customer", number)
        person = create_person(number, rng, parameters, has_duplicate=number in DUPLICATED)
        lives.append(simulate_life(person, rng, supply, parameters, start, until))
    events = sorted((one for life in lives for one in life.events), key=lambda one: (one.at, one.person.number, one.type))
    return Simulated(lives, list(render(events, random_numbers(seed, "vendors"))))


def random_numbers(*seed: Hashable) -> Random:
    """Return the random numbers of one part of the company, independent of all other parts."""
    return Random("/".join(map(str, seed)))  # noqa: S311 a simulation, not a secret


def generate(seed: int, customers: int, until: datetime, folder: Path) -> int:
    """Write `drops/` and `truth/` of the simulated company below `folder`. Returns the number of records."""
    simulated = simulate(seed, customers, until)
    drops.write(simulated.records, folder / "drops")
    truth.write(simulated.lives, simulated.records, folder / "truth", until)
    return len(simulated.records)
