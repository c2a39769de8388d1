"""BG/NBD in closed form (Fader, Hardie & Lee 2005, "Counting your customers the easy way", Marketing Science 24(2)).

Times are in weeks. A customer's first purchase is at 0, `x` counts the later ones, the last one is at `t_x`, and the reading
is at `age`. P(no purchase in the next t weeks) = 1 - P(alive) * (1 - ((alpha + age) / (alpha + age + t)) ** (r + x)).
P(alive) alone is never published: it is exactly 1 after a single purchase, and ranks worse than a coin toss on CDNOW.
"""

from typing import NamedTuple


class Population(NamedTuple):
    """Purchase rate (r, alpha) and drop-out rate (a, b) of all customers together."""

    r: float
    alpha: float
    a: float
    b: float


CDNOW = Population(r=0.243, alpha=4.414, a=0.793, b=2.426)


def probability_alive(population: Population, x: int, t_x: float, age: float) -> float:
    """Return the probability that the customer has not dropped out."""
    if x == 0:
        return 1.0
    r, alpha, a, b = population
    return float(1 / (1 + a / (b + x - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x)))


def probability_no_purchase(population: Population, x: int, t_x: float, age: float, horizon: float) -> float:
    """Return the probability of no purchase within `horizon` weeks from now."""
    r, alpha = population.r, population.alpha
    buys_if_alive = 1 - ((alpha + age) / (alpha + age + horizon)) ** (r + x)
    return float(1 - probability_alive(population, x, t_x, age) * buys_if_alive)
