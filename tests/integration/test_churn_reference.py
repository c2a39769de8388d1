"""Compares the churn formula with published and measured figures on CDNOW, a real purchase file."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from deploy.demo import cdnow
from streams.signals.churn.model import CDNOW, probability_alive, probability_no_purchase

pytestmark = pytest.mark.integration
CALIBRATED_UNTIL, JUDGED_UNTIL = date(1997, 9, 30), date(1998, 6, 30)
WEEKS = 39.0


@pytest.fixture(scope="module")
def purchases() -> dict[str, list[date]]:
    """Return the days with a purchase of each customer, in order."""
    days: defaultdict[str, set[date]] = defaultdict(set)
    file: Path = cdnow.fetch_drop() / "CDNOW_master.txt"
    for line in file.read_text().splitlines()[1:]:
        customer, day, *_ = line.split()
        days[customer].add(date(int(day[:4]), int(day[4:6]), int(day[6:8])))
    return {customer: sorted(each) for customer, each in days.items()}


def auc(scores: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Return the probability that a buyer ranks above a non-buyer; ties count half (Mann-Whitney)."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    ranks = [0.0] * len(scores)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and scores[order[end + 1]] == scores[order[start]]:
            end += 1
        for position in range(start, end + 1):
            ranks[order[position]] = (start + end) / 2 + 1
        start = end + 1
    bought = sum(outcomes)
    rank_sum = sum(rank for rank, outcome in zip(ranks, outcomes, strict=True) if outcome)
    return (rank_sum - bought * (bought + 1) / 2) / (bought * (len(scores) - bought))


def test_the_closed_form_ranks_as_measured_and_p_alive_worse_than_a_coin(purchases: dict[str, list[date]]) -> None:
    closed, living, idle, outcomes, repeat = [], [], [], [], []
    for days in purchases.values():
        seen = [day for day in days if day <= CALIBRATED_UNTIL]
        x, t_x, age = len(seen) - 1, (seen[-1] - seen[0]).days / 7, (CALIBRATED_UNTIL - seen[0]).days / 7
        closed.append(1 - probability_no_purchase(CDNOW, x, t_x, age, WEEKS))
        living.append(probability_alive(CDNOW, x, t_x, age))
        idle.append(-float((CALIBRATED_UNTIL - seen[-1]).days))
        outcomes.append(any(CALIBRATED_UNTIL < day <= JUDGED_UNTIL for day in days))
        repeat.append(x > 0)
    assert len(closed) == cdnow.CUSTOMERS
    assert auc(closed, outcomes) == pytest.approx(0.747, abs=0.002)
    assert auc(living, outcomes) == pytest.approx(0.319, abs=0.002)
    assert auc(idle, outcomes) == pytest.approx(0.759, abs=0.002)
    again = [index for index, each in enumerate(repeat) if each]
    assert auc([closed[each] for each in again], [outcomes[each] for each in again]) == pytest.approx(0.723, abs=0.002)


def test_single_purchase_means_alive_but_not_certain_to_buy() -> None:
    assert probability_alive(CDNOW, 0, 0.0, 30.0) == 1.0
    assert 0.5 < probability_no_purchase(CDNOW, 0, 0.0, 30.0, WEEKS) < 1.0


def test_risk_rises_with_silence_and_falls_with_the_horizon() -> None:
    silent = [probability_no_purchase(CDNOW, 4, 20.0, 20.0 + weeks, 13.0) for weeks in range(0, 60, 5)]
    assert silent == sorted(silent)
    longer = [probability_no_purchase(CDNOW, 4, 20.0, 22.0, horizon) for horizon in (1.0, 10.0, 39.0, 200.0)]
    assert longer == sorted(longer, reverse=True)
