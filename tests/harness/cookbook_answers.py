"""Answers to `sinks/views/COOKBOOK.md` in plain Python and in its order, from the published records and not from views."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import fmean
from typing import Any, TypeVar
from uuid import UUID

from schemas.wire.codec import Fields
from schemas.wire.topics import CHURN, SATISFACTION
from tests.harness.student_t import interval
from tests.harness.telecom_world import DAY, UNTIL, World

END = int(UNTIL.timestamp() * 1000)
SILENCE = 365 * DAY
Rows = list[tuple[Any, ...]]
Key = TypeVar("Key", bound=Hashable)
FUNNEL = ("inquiry.received", "order.placed", "delivery.completed", "installation.completed")


def group_by(key: Callable[[Fields], Key], records: Iterable[Fields]) -> dict[Key, list[Fields]]:
    """Return groups in the order of the records."""
    found: defaultdict[Key, list[Fields]] = defaultdict(list)
    for each in records:
        found[key(each)].append(each)
    return dict(found)


def to_day(at: int) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()


def select_types(world: World, *types: str) -> list[Fields]:
    return [each for each in world.touchpoints if each["type"] in types]


def get_customer(each: Fields) -> Any:
    return each["customer"]


def answers(world: World, metric: str) -> list[Fields]:
    return [each for each in select_types(world, "survey.answered") if each["metric"] == metric]


def nps(scores: list[float]) -> tuple[float, float, float]:
    """Return promoters and detractors per answer, and the score."""
    p, d = sum(each >= 9 for each in scores) / len(scores), sum(each <= 6 for each in scores) / len(scores)
    return p, d, 100 * (p - d)


def journeys(world: World) -> list[list[Fields]]:
    """Return the touchpoints of each journey. A cancellation or a year of silence ends a journey."""
    found = []
    for touched in group_by(get_customer, world.touchpoints).values():
        current = [touched[0]]
        for before, each in pairwise(touched):
            if before["type"] == "contract.cancelled" or each["occurred_at"] - before["occurred_at"] > SILENCE:
                found.append(current)
                current = []
            current.append(each)
        found.append(current)
    return found


def installation_steps(world: World) -> Rows:
    change = {each["event_id"]: each["numbers"]["change"] for each in world.readings[SATISFACTION]}
    steps = [each for each in world.touchpoints if each["type"].startswith("installation.") and each["event_id"] in change]
    rows = []
    for (kind, channel), touched in group_by(lambda each: (each["type"], each["channel"]), steps).items():
        changes = [change[each["event_id"]] for each in touched]
        rows.append((kind, channel, fmean(changes), *interval(changes), len(changes)))
    return sorted(rows, key=lambda row: row[2])


def silent_after_a_stock_out(world: World) -> Rows:
    rows = []
    for customer, touched in group_by(get_customer, world.touchpoints).items():
        out = [to_day(each["occurred_at"]) for each in touched if each["type"] == "stock.out"]
        last = touched[-1]["occurred_at"]
        if out and to_day(last) <= out[-1] + timedelta(30) and to_day(last) < UNTIL.date() - timedelta(60):
            rows.append((last, customer, out[-1], to_day(last)))
    return [row[1:] for row in sorted(rows)]


def weekly_nps(world: World) -> Rows:
    def week(each: Fields) -> date:
        at = to_day(each["occurred_at"])
        return at - timedelta(at.weekday())

    rows = []
    for (monday, channel), asked in group_by(lambda each: (week(each), each["channel"]), answers(world, "nps")).items():
        if monday >= date(2026, 10, 19):
            p, d, score = nps([each["answer"] for each in asked])
            plus_minus = 196 * math.sqrt((p + d - (p - d) ** 2) / len(asked))
            rows.append((monday, channel, len(asked), p, d, score, plus_minus))
    return sorted(rows)


def paths_to_churn(world: World) -> Rows:
    ended = [steps for steps in journeys(world) if steps[-1]["type"] == "contract.cancelled"]
    paths = Counter(" > ".join(each["type"] for each in steps[-4:-1]) for steps in ended)
    return sorted(paths.items(), key=lambda row: (-row[1], row[0]))


def reached(steps: list[Fields]) -> int:
    """Return the number of funnel steps of a journey within 90 days of any of its inquiries."""
    furthest = 0
    for start, first in enumerate(steps):
        if first["type"] == FUNNEL[0]:
            level = 1
            for each in steps[start:]:
                in_time = each["occurred_at"] <= first["occurred_at"] + 90 * DAY
                level += level < len(FUNNEL) and in_time and each["type"] == FUNNEL[level]
            furthest = max(furthest, level)
    return furthest


def funnel(world: World) -> Rows:
    return sorted(Counter(map(reached, journeys(world))).items())


def waits(world: World) -> Rows:
    found = defaultdict(list)
    for steps in journeys(world):
        for each, following in pairwise(steps):
            if each["stage"] == "onboarding":
                found[each["type"]].append((following["occurred_at"] - each["occurred_at"]) / DAY)
    return sorted(((kind, len(days), fmean(days)) for kind, days in found.items()), key=lambda row: (-row[2], row[0]))


def csat_by_stage(world: World) -> Rows:
    asked = [each for each in select_types(world, "survey.offered", "survey.answered") if each["metric"] == "csat"]
    recent = [each for each in asked if each["occurred_at"] >= END - 365 * DAY]
    rows = []
    for stage, group in sorted(group_by(lambda each: each["stage"], recent).items()):
        scores = [each["answer"] for each in group if each["answer"] is not None]
        share = 100 * sum(score >= 4 for score in scores) / len(scores)
        rows.append((stage, share, len(scores), 100 * len(scores) / (len(group) - len(scores))))
    return rows


def ces_by_month(world: World) -> Rows:
    rows = []
    for month, asked in group_by(lambda each: to_day(each["occurred_at"]).replace(day=1), answers(world, "ces")).items():
        scores = [each["answer"] for each in asked]
        rows.append((month, 100 * sum(score >= 5 for score in scores) / len(scores), fmean(scores), len(scores)))
    return sorted(rows)


def segments(world: World) -> dict[Any, str]:
    """Return the last segment of a customer from any source."""
    with_segment = [each for each in world.touchpoints if each["attributes"].get("segment")]
    return {each["customer"]: each["attributes"]["segment"] for each in with_segment}


def nps_by_segment(world: World) -> Rows:
    known = segments(world)
    groups = group_by(lambda each: known.get(each["customer"], ""), answers(world, "nps"))
    return sorted((segment, nps([each["answer"] for each in asked])[2], len(asked)) for segment, asked in groups.items())


def late_products(world: World) -> Rows:
    rows = []
    for product, delivered in group_by(lambda each: each["product"], select_types(world, "delivery.completed")).items():
        late = [each["delay_days"] for each in delivered if (each["delay_days"] or 0) > 0]
        rows.append((product, len(delivered), len(late), fmean(late)))
    return sorted(rows)


HARD = {
    "stock.out", "shipment.delayed", "installation.late", "order.cancelled", "return.received", "invoice.corrected",
    "payment.failed", "ticket.reopened", "ticket.transferred",
}  # fmt: skip


def hard(each: Fields) -> bool:
    max_wait_seconds = 900 if each["channel"] in ("phone", "chat", "store") else 86_400
    return each["type"] in HARD or (each.get("wait_seconds") or 0) > max_wait_seconds


def endings(world: World) -> Rows:
    rows = []
    last_of = {touched[-1]["event_id"] for touched in group_by(get_customer, world.touchpoints).values()}
    ends: defaultdict[tuple[str, str], list[list[Fields]]] = defaultdict(list)
    for steps in journeys(world):
        if steps[-1]["type"] == "contract.cancelled":
            ends["closed", "cancelled"].append(steps)
        else:
            ends[("open", "") if steps[-1]["event_id"] in last_of else ("closed", "lapsed")].append(steps)
    for ending, group in sorted(ends.items()):
        rows.append((*ending, len(group), fmean(sum(map(hard, steps)) for steps in group), fmean(map(len, group))))
    return rows


def valuable_and_leaving(world: World) -> Rows:
    risk = {each["customer_id"]: each["value"] for each in world.readings[CHURN]}
    score = {each["customer_id"]: each["value"] for each in world.readings[SATISFACTION]}
    sign = {"order.placed": 1, "order.cancelled": -1, "return.received": -1}
    rows = []
    for customer, touched in group_by(get_customer, world.touchpoints).items():
        value = sum(sign.get(each["type"], 0) * (each.get("amount") or 0) for each in touched) / 10_000
        last = touched[-1]["occurred_at"]
        if (risk.get(customer.bytes) or 0) > 0.5 and last >= END - 60 * DAY:
            rows.append((-value, last, customer, risk[customer.bytes], score.get(customer.bytes)))
    return [(customer, -value, chance, content) for value, _, customer, chance, content in sorted(rows)[:10]]


def falls(world: World) -> Rows:
    rows = []
    for customer, history in group_by(lambda each: each["customer_id"], world.readings[SATISFACTION]).items():
        before = [each["value"] for each in history if each["at"] < END - 30 * DAY]
        now = history[-1]["value"]
        if before and now - before[-1] < -2:
            rows.append((UUID(bytes=customer), before[-1], now, now - before[-1]))
    return sorted(rows, key=lambda row: row[3])


def troubled_tickets(world: World) -> Rows:
    tickets = group_by(lambda each: each["ticket_id"], [each for each in world.touchpoints if each["source"] == "support"])
    found = defaultdict(list)
    for touched in tickets.values():
        opened = next(each["channel"] for each in touched if each["type"] == "ticket.opened")
        found[opened].append({each["type"] for each in touched})
    return sorted(
        (
            channel,
            len(each),
            sum("ticket.reopened" in types for types in each),
            sum("ticket.transferred" in types for types in each),
        )
        for channel, each in found.items()
    )


def orders(world: World) -> dict[str, list[Fields]]:
    return group_by(lambda each: each["order_id"], [each for each in world.touchpoints if each.get("order_id")])


def order_to_installation(world: World) -> Rows:
    days = []
    for touched in orders(world).values():
        at = {each["type"]: each["occurred_at"] for each in reversed(touched) if each["type"] == "order.placed"}
        at |= {each["type"]: each["occurred_at"] for each in touched if each["type"] == "installation.completed"}
        if len(at) == 2:
            days.append((at["installation.completed"] - at["order.placed"]) / DAY)
    return [(len(days), fmean(days), max(days))]


def support_again(world: World) -> Rows:
    opened = select_types(world, "ticket.opened")
    gaps = [
        later["occurred_at"] - earlier["occurred_at"]
        for touched in group_by(get_customer, opened).values()
        for earlier, later in pairwise(touched)
    ]
    return [(len(opened), sum(gap <= 7 * DAY for gap in gaps))]


def cancelled_orders(world: World) -> Rows:
    types = [{each["type"] for each in touched} for touched in orders(world).values()]
    return [
        (out, len(group), sum("order.cancelled" in each for each in group))
        for out in (0, 1)
        if (group := [each for each in types if ("stock.out" in each) == bool(out)])
    ]


def identifiers(world: World) -> Rows:
    return sorted(
        (kind, len(members), len({each["customer_id"] for each in members}), sum(each["is_shared"] for each in members))
        for kind, members in group_by(lambda each: each["kind"], world.members.values()).items()
    )


def completeness(world: World) -> Rows:
    stored = len(world.touchpoints)
    return [("telecom", date(2025, 10, 9), stored + 5, stored, 2)]


def refusals(world: World) -> Rows:
    return [("files", "wrong_type", 2, 0), ("files", "missing_field", 1, 0)]


def conflicts(world: World) -> Rows:
    owners = {node: each["customer_id"] for node, each in world.members.items()}
    found = [
        (each["reason"], each["kind"], each["other_kind"], owners[each["identifier_id"]] == owners[each["other_id"]])
        for each in world.conflicts.values()
    ]
    counted = Counter(each[:3] for each in found)
    rows = [(*key, count, found.count((*key, True))) for key, count in counted.items()]
    return sorted(rows, key=lambda row: (-row[3], *row[:3]))


def identity_changes(world: World) -> Rows:
    """Count moves of identifiers between two customers by one touchpoint. In a merge, the customer's own identifier moves."""
    owners: dict[bytes, bytes] = {}
    moved: defaultdict[tuple[bytes, bytes, bytes], dict[bytes, str]] = defaultdict(dict)
    for each in world.owners:
        node: bytes = each["identifier_id"]
        owner: bytes = each["customer_id"]
        before = owners.get(node, owner)
        if before != owner:
            moved[before, owner, each["event_id"]][node] = each["rule"]
        owners[node] = owner
    changes = Counter(("merge" if key[0] in nodes else "split", min(nodes.values())) for key, nodes in moved.items())
    return sorted((*key, count, 0) for key, count in changes.items())


ANSWERS: tuple[Callable[[World], Rows], ...] = (
    installation_steps, silent_after_a_stock_out, weekly_nps, paths_to_churn, funnel, waits, csat_by_stage, ces_by_month,
    nps_by_segment, late_products, endings, valuable_and_leaving, falls, troubled_tickets, order_to_installation, support_again,
    cancelled_orders, identifiers, completeness, refusals, conflicts, identity_changes,
)  # fmt: skip
