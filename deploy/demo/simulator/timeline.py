"""The timeline of one customer: events in neutral terms, before a vendor module turns them into records."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from deploy.demo.simulator.parameters import Parameters
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.satisfaction import Satisfaction
from deploy.demo.simulator.supply import Supply

Fact = str | float | int | datetime | None


class Event(NamedTuple):
    """One future touchpoint: its type as in `Touchpoint`, and the facts for a vendor's record."""

    at: datetime
    person: Person
    type: str
    facts: Mapping[str, Fact]


class Timeline:
    """Events, satisfaction and random numbers of one customer."""

    def __init__(self, person: Person, rng: Random, supply: Supply, parameters: Parameters) -> None:
        self.person, self.rng, self.supply, self.parameters = person, rng, supply, parameters
        self.satisfaction = Satisfaction(rng, parameters)
        self.events: list[Event] = []
        self.documents = 0

    def add(self, at: datetime, kind: str, **facts: Fact) -> None:
        """Add an event."""
        self.events.append(Event(at.replace(microsecond=0), self.person, kind, facts))

    def number(self, start: int) -> str:
        """Return a unique document number; `start` is the start of the vendor's number range."""
        self.documents += 1
        return str(start + self.person.number * 1_000 + self.documents)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability

    def after(self, at: datetime, low: float, high: float) -> datetime:
        """Return a random time between `low` and `high` days after `at`."""
        return at + timedelta(days=self.rng.uniform(low, high))
