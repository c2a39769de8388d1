"""Compares the results with the model. Pure, so that tests can damage the results."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields

from schemas.wire.topics import IDENTITY_REQUESTS, RESOLVED
from sinks.contract import load_tables
from tests.crash.commits import SOURCES
from tests.crash.log import Log
from tests.crash.model import Expected, Letter, Life, fold_life
from tests.crash.rows import Row
from tests.crash.views import SAME, Results

MAX_EXAMPLES = 5
COMPARED = (*SAME, "occurred_at", "amount")


@dataclass
class Verdict:
    """The errors, one line each; `counts` goes to `results.json`."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    state_mismatches: list[str] = field(default_factory=list)
    dead_letter_mismatches: list[str] = field(default_factory=list)
    commits_ahead: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {each.name: len(getattr(self, each.name)) for each in fields(self)}

    def examples(self) -> Iterator[str]:
        """Yield up to five errors of each kind."""
        for each in fields(self):
            yield from (f"{each.name}: {line}" for line in getattr(self, each.name)[:MAX_EXAMPLES])


def expect_poison_letters(log: Log) -> Counter[Letter]:
    """Return the dead letters that invalid records must have: one for each stage that reads them."""
    readers = {topic: ["identify"] for topic in SOURCES} | {IDENTITY_REQUESTS: ["link"], RESOLVED: ["join"]}
    for table in load_tables().values():
        readers.setdefault(table.topic, []).append(table.stage)
    found: Counter[Letter] = Counter()
    for topic, stages in readers.items():
        for each in log.entries[topic]:
            if not each.name:
                found.update((stage, each.origin, each.value) for stage in stages)
    return found


def judge(expected: Expected, poison: Counter[Letter], seen: Results) -> Verdict:
    """Compare everything but commits; `poison` is what `poisoned` makes of the log."""
    verdict = Verdict()
    _touchpoints(verdict, expected, seen)
    lives = _lives(verdict, expected, seen)
    wrong = verdict.state_mismatches
    counts = [(customer, len(life.ids)) for customer, life in lives.items()]
    wrong += find_differences("line of a customer", counts, seen.customers)
    journeys = [(customer, each) for customer, life in lives.items() for each in life.journeys]
    wrong += find_differences("journey", journeys, seen.journeys)
    readings = [(customer, each) for customer, life in lives.items() for each in life.readings]
    # the reading of a tick depends on the touchpoints folded by then, which is not promised
    wrong += find_differences("reading", readings, ((customer, each) for customer, each in seen.readings if each[1] is not None))
    wrong += [f"state row of {each.hex()}" for each in _rows(lives, seen.rows)]
    wrong += [f"incomplete customer {each.hex()}" for each in seen.incomplete]
    wrong += [f"totals of {stream}" for stream, totals in expected.totals.items() if seen.totals.get(stream) != totals]
    verdict.twice += find_doubles("line of a customer", (customer for customer, _ in seen.customers))
    verdict.twice += find_doubles("journey", seen.journeys)
    verdict.twice += find_doubles("reading", ((customer, reading[:3]) for customer, reading in seen.readings))
    verdict.twice += find_doubles("dead letter", seen.letters)
    verdict.dead_letter_mismatches += find_differences("dead letter", (expected.letters + poison).elements(), seen.letters)
    return verdict


def _touchpoints(verdict: Verdict, expected: Expected, seen: Results) -> None:
    there = {each["event_id"]: each for each in seen.touchpoints}
    verdict.lost += [f"touchpoint {each.hex()}" for each in expected.touchpoints.keys() - there.keys()]
    verdict.twice += find_doubles("touchpoint", (each["event_id"] for each in seen.touchpoints))
    for event_id, fields_there in there.items():
        must = expected.touchpoints.get(event_id)
        if must is None or any(fields_there.get(name) != must.get(name) for name in COMPARED):
            verdict.state_mismatches.append(f"touchpoint {event_id.hex()} is {'unlike its source' if must else 'of no source'}")


def _lives(verdict: Verdict, expected: Expected, seen: Results) -> dict[bytes, Life]:
    """Return the expected life of each customer; add an error for each customer and identifier that differs from the model."""
    shown: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for each in seen.touchpoints:
        shown[each["customer_id"]].add(each["event_id"])
    people = expected.people()
    lives = {}
    for customer, ids in people.find_customers().items():
        if shown.get(customer) != ids:
            verdict.state_mismatches.append(f"the {len(ids)} touchpoints of {customer.hex()} are not shown as this customer")
            continue
        lives[customer] = fold_life(expected.touchpoints[each] for each in ids)
    for (kind, value), owner in people.owners.items():
        if seen.identities.get((kind, value)) != owner:
            verdict.state_mismatches.append(f"{kind} of {owner.hex()} leads to another customer")
    return lives


def _rows(lives: dict[bytes, Life], rows: dict[bytes, Row]) -> Iterator[bytes]:
    for customer in lives.keys() | rows.keys():
        life, row = lives.get(customer), rows.get(customer)
        if life is None or row is None or not row.is_fold_of(life):
            yield customer


def find_differences(what: str, must: Iterable[Hashable], there: Iterable[Hashable]) -> list[str]:
    """Return a line for each missing and each unexpected item."""
    wanted, found = set(must), set(there)
    missing = [f"{what} missing: {each!r:.200}" for each in wanted - found]
    return missing + [f"{what} unexpected: {each!r:.200}" for each in found - wanted]


def find_doubles(what: str, there: Iterable[Hashable]) -> list[str]:
    """Return a line for each item that occurs more than once."""
    return [f"{what}: {each!r:.200}" for each, count in Counter(there).items() if count > 1]
