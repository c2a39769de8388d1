"""Student's t interval of a mean, to check the intervals of views."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, stdev

SLICES = 400


@cache
def quantile(freedom: int) -> float:
    """Return the 97.5 % quantile, by Simpson's rule over the density and by bisection."""
    low, high = 1.9, 13.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if _half(middle, freedom) < 0.475 else (low, middle)
    return low


def _half(bound: float, freedom: int) -> float:
    """Return the probability between 0 and `bound`."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = [math.pow(1 + (bound * step / SLICES) ** 2 / freedom, -(freedom + 1) / 2) for step in range(SLICES + 1)]
    return scale * bound / SLICES / 3 * (density[0] + density[-1] + 4 * sum(density[1:-1:2]) + 2 * sum(density[2:-1:2]))


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean, or None for fewer than two different values."""
    if len(set(values)) < 2:
        return None, None
    half = quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
