"""Latent satisfaction: a customer's own level plus shocks that decay with a half-life. Only the truth files hold it."""

from datetime import datetime
from random import Random

from deploy.demo.simulator.parameters import Parameters

DAY = 86_400.0


class Satisfaction:
    """Satisfaction of one customer over time, 0 to 100. Shocks may be added in any order; reading does not change it."""

    def __init__(self, rng: Random, parameters: Parameters) -> None:
        self.base = rng.gauss(parameters.satisfaction_mean, parameters.satisfaction_spread)
        self.half_life = parameters.half_life_days * DAY
        self.shocks: list[tuple[datetime, float]] = []

    def add_shock(self, at: datetime, points: float) -> None:
        """Add a positive or negative shock of `points` at `at`."""
        self.shocks.append((at, points))

    def level(self, at: datetime) -> float:
        """Return the satisfaction at `at`: the customer's own level plus past shocks, halved every half-life."""
        decayed: float = sum(
            points * 0.5 ** ((at - when).total_seconds() / self.half_life) for when, points in self.shocks if when <= at
        )
        return min(100.0, max(0.0, self.base + decayed))
