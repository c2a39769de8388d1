"""The comparison can fail: it counts each kind of damage to a correct result under the right name."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.drops import Drops
from tests.crash.families import decide
from tests.crash.model import Expected, Letter, expect_drops, fold_life
from tests.crash.rows import Row
from tests.crash.verdict import judge
from tests.crash.views import Results

POISON = Counter[Letter]({("identify", "touchline.erp/0/7", b"poison-1"): 1})
Tamper = Callable[[Results], Results]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    drops = Drops(tmp_path_factory.mktemp("drops"), seed=3)
    for _ in range(4):
        drops.drop()
    decisions = [found[0] for family in range(2) if (found := decide(family)) is not None]
    return expect_drops(drops.settings, Expected(b"secret of all unit tests", decisions))


def faultless(expected: Expected) -> Results:
    """Return correct results."""
    seen = Results([], [], [], [], list((expected.letters + POISON).elements()), {}, {}, dict(expected.totals), [])
    people = expected.people()
    seen.identities.update(people.owners)
    for customer, ids in people.find_customers().items():
        life = fold_life(expected.touchpoints[each] for each in ids)
        seen.touchpoints.extend({**expected.touchpoints[each], "customer_id": customer} for each in ids)
        seen.customers.append((customer, len(ids)))
        seen.journeys.extend((customer, each) for each in life.journeys)
        seen.readings.extend((customer, each) for each in life.readings)
        seen.rows[customer] = Row(life.ids, life.states, life.journeys)
    return seen


def counted(expected: Expected, seen: Results) -> dict[str, int]:
    return {name: count for name, count in judge(expected, POISON, seen).counts().items() if count}


def longest_customer(expected: Expected) -> tuple[bytes, Row]:
    """Return the customer with the most touchpoints."""
    return max(faultless(expected).rows.items(), key=lambda row: (len(row[1].ids), row[0]))


def test_correct_results_are_accepted(expected: Expected) -> None:
    assert len(expected.touchpoints) == 4 * 90 + 6 + 10
    assert len(expected.people().find_customers()) > 10
    assert counted(expected, faultless(expected)) == {}


def test_order_of_results_does_not_matter(expected: Expected) -> None:
    seen = faultless(expected)
    turned = seen._replace(touchpoints=seen.touchpoints[::-1], readings=seen.readings[::-1], letters=seen.letters[::-1])
    assert counted(expected, turned) == {}


def without(rows: list[Any], at: int = 0) -> list[Any]:
    left = rows.copy()
    del left[at]
    return left


@pytest.mark.parametrize(
    ("tamper", "counts"),
    [
        (lambda seen: seen._replace(touchpoints=[*seen.touchpoints, seen.touchpoints[0]]), {"twice": 1}),
        (lambda seen: seen._replace(journeys=[*seen.journeys, seen.journeys[0]]), {"twice": 1}),
        (lambda seen: seen._replace(readings=[*seen.readings, seen.readings[0]]), {"twice": 1}),
        (lambda seen: seen._replace(letters=[*seen.letters, seen.letters[0]]), {"twice": 1}),
        (lambda seen: seen._replace(journeys=without(seen.journeys)), {"state_mismatches": 1}),
        (lambda seen: seen._replace(readings=without(seen.readings)), {"state_mismatches": 1}),
        (lambda seen: seen._replace(customers=without(seen.customers)), {"state_mismatches": 1}),
        (lambda seen: seen._replace(letters=without(seen.letters)), {"dead_letter_mismatches": 1}),
        (lambda seen: seen._replace(letters=without(seen.letters, -1)), {"dead_letter_mismatches": 1}),
        (lambda seen: seen._replace(letters=[*seen.letters, ("join", "x", b"y")]), {"dead_letter_mismatches": 1}),
        (lambda seen: seen._replace(totals={**seen.totals, min(seen.totals): (1, 1, 0, 0)}), {"state_mismatches": 1}),
        (lambda seen: seen._replace(incomplete=[bytes(16)]), {"state_mismatches": 1}),
        (lambda seen: seen._replace(identities={**seen.identities, min(seen.identities): b""}), {"state_mismatches": 1}),
    ],
)
def test_damage_is_counted_under_its_name(expected: Expected, tamper: Tamper, counts: dict[str, int]) -> None:
    assert counted(expected, tamper(faultless(expected))) == counts


def test_readings_of_ticks_are_only_checked_for_duplicates(expected: Expected) -> None:
    seen = faultless(expected)
    tick = (seen.customers[0][0], ("churn", None, 1_780_000_000_000, 0.5, None, None, 1))
    assert counted(expected, seen._replace(readings=[*seen.readings, tick])) == {}
    assert counted(expected, seen._replace(readings=[*seen.readings, tick, tick])) == {"twice": 1}


def test_missing_touchpoint_is_lost(expected: Expected) -> None:
    seen = faultless(expected)
    counts = counted(expected, seen._replace(touchpoints=without(seen.touchpoints)))
    assert counts["lost"] == 1


def test_changed_touchpoint_and_unknown_touchpoint_are_mismatches(expected: Expected) -> None:
    seen = faultless(expected)
    seen.touchpoints[0] = {**seen.touchpoints[0], "type": "order.lost"}
    assert counted(expected, seen) == {"state_mismatches": 1}
    stranger = {**seen.touchpoints[1], "event_id": bytes(16), "customer_id": bytes(16)}
    assert counted(expected, faultless(expected)._replace(touchpoints=[*faultless(expected).touchpoints, stranger])) == {
        "state_mismatches": 1
    }


def test_divided_customer_is_a_mismatch(expected: Expected) -> None:
    seen, (_, row) = faultless(expected), longest_customer(expected)
    for each in seen.touchpoints:
        if each["event_id"] == row.ids[0]:
            each["customer_id"] = bytes(16)
    assert counted(expected, seen)["state_mismatches"] > 0
    assert "lost" not in counted(expected, seen)


@pytest.mark.parametrize("change", ["state", "journeys", "torn", "order", "missing", "surplus"])
def test_state_row_that_differs_from_a_plain_fold_is_a_mismatch(expected: Expected, change: str) -> None:
    seen, (customer, row) = faultless(expected), longest_customer(expected)
    if change == "state":
        fewer = fold_life(expected.touchpoints[each] for each in row.ids[1:])
        seen.rows[customer] = row._replace(states=fewer.states)
    elif change == "journeys":
        seen.rows[customer] = row._replace(journeys=[*row.journeys[:-1], ("another",)])
    elif change == "torn":
        seen.rows[customer] = row._replace(whole=False)
    elif change == "order":
        seen.rows[customer] = row._replace(ids=row.ids[::-1])
    elif change == "missing":
        del seen.rows[customer]
    else:
        seen.rows[bytes(16)] = row
    assert counted(expected, seen) == {"state_mismatches": 1}


def test_row_keeps_the_newest_part_of_a_life_once_it_forgot_the_rest(expected: Expected) -> None:
    seen, (customer, row) = faultless(expected), longest_customer(expected)
    seen.rows[customer] = row._replace(ids=row.ids[3:], forgotten=(0, row.ids[2]))
    assert counted(expected, seen) == {}
    seen.rows[customer] = row._replace(ids=row.ids[:-3], forgotten=(0, row.ids[2]))
    assert counted(expected, seen) == {"state_mismatches": 1}
