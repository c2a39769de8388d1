"""Latent satisfaction: a customer's own level plus shocks that fade with a half-life. Only the truth files hold it."""

from datetime import datetime
from random import Random

from deploy.demo.simulator.parameters import Parameters

DAY = 86_400.0


class Mood:
    """Satisfaction of one customer over time, 0 to 100. Shocks may be felt in any order; reading never changes it."""

    def __init__(self, rng: Random, parameters: Parameters) -> None:
        self.base = rng.gauss(parameters.satisfaction_mean, parameters.satisfaction_spread)
        self.half_life = parameters.half_life_days * DAY
        self.shocks: list[tuple[datetime, float]] = []

    def feel(self, at: datetime, points: float) -> None:
        """Something pleasant (positive) or annoying (negative) happened at `at`."""
        self.shocks.append((at, points))

    def level(self, at: datetime) -> float:
        """Satisfaction at `at`: shocks of the past, halved every half-life, on top of the customer's own level."""
        felt: float = sum(
            points * 0.5 ** ((at - when).total_seconds() / self.half_life) for when, points in self.shocks if when <= at
        )
        return min(100.0, max(0.0, self.base + felt))
