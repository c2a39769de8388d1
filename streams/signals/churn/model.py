"""BG/NBD in closed form (Fader, Hardie & Lee 2005, "Counting your customers the easy way", Marketing Science 24(2)).

Times in weeks: a customer first bought at 0, bought again `x` times, last at `t_x`, and is looked at at `age`.
P(no purchase in the next t weeks) = 1 - P(alive) * (1 - ((alpha + age) / (alpha + age + t)) ** (r + x)).
P(alive) alone is never shown: it is exactly 1 for whoever bought once, and ranks worse than a coin on CDNOW.
"""

from typing import NamedTuple


class Population(NamedTuple):
    """How often customers buy (r, alpha) and drop out (a, b), as a whole population."""

    r: float
    alpha: float
    a: float
    b: float


CDNOW = Population(r=0.243, alpha=4.414, a=0.793, b=2.426)


def alive(population: Population, x: int, t_x: float, age: float) -> float:
    """P(still a customer)."""
    if x == 0:
        return 1.0
    r, alpha, a, b = population
    return float(1 / (1 + a / (b + x - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x)))


def no_purchase(population: Population, x: int, t_x: float, age: float, horizon: float) -> float:
    """P(no purchase within `horizon` weeks from now)."""
    r, alpha = population.r, population.alpha
    buys_if_alive = 1 - ((alpha + age) / (alpha + age + horizon)) ** (r + x)
    return float(1 - alive(population, x, t_x, age) * buys_if_alive)
