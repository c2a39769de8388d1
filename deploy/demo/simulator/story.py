"""What one customer's story is made of: happenings in neutral words, before any vendor's export dresses them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from deploy.demo.simulator.mood import Mood
from deploy.demo.simulator.parameters import Parameters
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.supply import Supply

Fact = str | float | int | datetime | None


class Happening(NamedTuple):
    """One touchpoint-to-be: its type as Touchpoint names it, and the facts a vendor's record would hold."""

    at: datetime
    person: Person
    type: str
    facts: Mapping[str, Fact]


class Story:
    """One customer's life so far: happenings, mood, and a supply of that customer's own random numbers."""

    def __init__(self, who: Person, rng: Random, supply: Supply, parameters: Parameters) -> None:
        self.who, self.rng, self.supply, self.parameters = who, rng, supply, parameters
        self.mood = Mood(rng, parameters)
        self.happenings: list[Happening] = []
        self.numbers = 0

    def tell(self, at: datetime, kind: str, **facts: Fact) -> None:
        """Something happened."""
        self.happenings.append(Happening(at.replace(microsecond=0), self.who, kind, facts))

    def number(self, start: int) -> str:
        """A document number that no other customer and no other call gives; `start` is the vendor's number range."""
        self.numbers += 1
        return str(start + self.who.number * 1_000 + self.numbers)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def after(self, at: datetime, low: float, high: float) -> datetime:
        """A moment between `low` and `high` days after `at`."""
        return at + timedelta(days=self.rng.uniform(low, high))
