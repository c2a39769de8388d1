"""The four questions with a time limit, each with the same answer computed from the row numbers alone.

An answer that differs ends the benchmark. Times are seconds as a client sees them, the rows decoded.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psutil

from schemas.errors import FatalError
from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse.fill import BEGINS, FACTS, JOURNEY_ID, LAST_DAY, MERGED

TIMES = 50
WINDOWS = 5
LAST = date.fromisoformat(LAST_DAY)
CACHES = ("MARK", "UNCOMPRESSED", "QUERY CONDITION")
Row = tuple[Any, ...]
Parameters = Mapping[str, Any]

CUSTOMER = """
    SELECT touchpoints, first_seen, last_seen, lifetime_value, satisfaction, churn_risk, open_journeys
    FROM touchline.customers_of(customer_id = {customer:UUID})
"""
CUSTOMER_BY_NUMBER = f"""
    SELECT
        count(), min(occurred_at), max(occurred_at), toDecimal64(sum(ifNull(amount, 0)), 4) / 10000,
        argMaxIf(50 + change, occurred_at, customer = customer_now),
        argMaxIf(toFloat64(h % 1000) / 1000, occurred_at, customer = customer_now),
        countIf(number % {2 * BEGINS} = 0)
    FROM ({FACTS}) WHERE customer_now = {{number:UInt32}}
"""
JOURNEY = "SELECT journey_id FROM touchline.journeys WHERE customer_id = {customer:UUID} ORDER BY started_at LIMIT 1"
TIMELINE = """
    SELECT step, event_id, occurred_at, stage, type, channel, dwell_seconds
    FROM touchline.journey_steps_of(customer_id = {customer:UUID})
    WHERE journey_id = {journey:UUID}
    ORDER BY step
"""
TIMELINE_BY_NUMBER = f"""
    WITH
        placed AS
        (
            SELECT
                *, sipHash128('event', number) AS event, customer_now AS owner,
                sum(number % {BEGINS} = 0) OVER (ORDER BY occurred_at, event ROWS UNBOUNDED PRECEDING) AS nth
            FROM ({FACTS}) WHERE customer_now = {{number:UInt32}}
        ),
        first AS
        (
            SELECT nth FROM placed WHERE number % {BEGINS} = 0 AND {JOURNEY_ID} = UUIDToNum({{journey:UUID}})
        )
    SELECT
        row_number() OVER steps AS step, toUUID(UUIDNumToString(event)) AS event_id, occurred_at, stage, type, channel,
        dateDiff('millisecond', occurred_at, leadInFrame(toNullable(occurred_at)) OVER steps) / 1000 AS dwell_seconds
    FROM placed WHERE nth = (SELECT nth FROM first)
    WINDOW steps AS (ORDER BY occurred_at, event ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ORDER BY step
"""
KPI = """
    SELECT day, metric, value_of_dimension, value, n, offered, answered
    FROM touchline.kpis
    WHERE dimension = 'channel' AND day BETWEEN {since:Date} AND {until:Date}
    ORDER BY ALL
"""
KPI_BY_NUMBER = f"""
    SELECT
        toDate(occurred_at) AS day, metric, channel,
        100 * if(
            metric = 'nps', countIf(answer >= 9) - countIf(answer <= 6), countIf(answer >= if(metric = 'csat', 6, 5))
        ) / nullIf(n, 0),
        count(answer) AS n, countIf(type = 'survey.offered'), n
    FROM ({FACTS}) WHERE metric IS NOT NULL AND day BETWEEN {{since:Date}} AND {{until:Date}}
    GROUP BY ALL ORDER BY ALL
"""
PAIN_POINTS = """
    SELECT stage, channel, type, customers, touchpoints, n, satisfaction_change, low, high
    FROM touchline.pain_points_between(since = {since:Date}, until = {until:Date})
    ORDER BY ALL
"""
PAIN_POINTS_BY_NUMBER = f"""
    WITH
        customer = customer_now AS read,
        studentTTestOneSampleIf(0.95)(change, 0., read) AS interval
    SELECT
        stage, channel, type, uniqExact(customer_now), count(), countIf(read) AS n, if(n = 0, NULL, avgIf(change, read)),
        if(n < 2, NULL, interval.3), if(n < 2, NULL, interval.4)
    FROM ({FACTS}) WHERE toDate(occurred_at) BETWEEN {{since:Date}} AND {{until:Date}}
    GROUP BY stage, channel, type ORDER BY ALL
"""


class Question(NamedTuple):
    """A query on the views, the query that computes the expected answer, and the parameters of each run."""

    name: str
    limit_seconds: float
    sql: str
    by_number: str
    parameters: Sequence[Parameters]


class Timings(NamedTuple):
    """Seconds and rows read; `cold` is the first run after the server's caches were cleared, with a warm page cache."""

    p50: float
    p95: float
    cold: float
    read_rows: int
    cpu_seconds: float


def questions(touchpoints: int, customers: int, client: ClickHouse) -> Iterator[Question]:
    dice = random.Random(20261122)
    common = {"first": 0, "count": touchpoints, "customers": customers}
    parameter_sets: list[Parameters] = []
    while len(parameter_sets) < TIMES:
        # Every other customer absorbed the one before it by a merge; none was merged away.
        number = dice.randrange(customers // MERGED) * MERGED + (1 if len(parameter_sets) % 2 else dice.randrange(2, MERGED))
        parameters = {**common, "number": number, "customer": _id(client, "customer", number)}
        parameter_sets += [{**parameters, "journey": journey} for (journey,) in client.query(JOURNEY, parameters).rows]
    yield Question("customer", 0.1, CUSTOMER, CUSTOMER_BY_NUMBER, parameter_sets)
    yield Question("timeline", 0.1, TIMELINE, TIMELINE_BY_NUMBER, parameter_sets)
    for name, limit, days, sql, by_number in (
        ("kpi", 0.5, 90, KPI, KPI_BY_NUMBER),
        ("pain_points", 1.0, 30, PAIN_POINTS, PAIN_POINTS_BY_NUMBER),
    ):
        ends = [LAST - timedelta(days=7 * (each % WINDOWS)) for each in range(TIMES)]
        windows = [{**common, "since": str(end - timedelta(days=days - 1)), "until": str(end)} for end in ends]
        yield Question(name, limit, sql, by_number, windows)


def ask(client: ClickHouse, question: Question, server: psutil.Process, step: Callable[[], None]) -> Timings:
    """Run the question with all parameters and compare the answers. Raises FatalError for a wrong one."""
    for cache in CACHES:
        client.execute(f"SYSTEM CLEAR {cache} CACHE")
    seconds, right, read, busy = [], dict[str, list[Row]](), 0, _cpu(server)
    for parameters in question.parameters:
        began = time.perf_counter()
        found = client.query(question.sql, parameters).rows
        seconds.append(time.perf_counter() - began)
        read = max(read, client._client.last_query.progress.rows)
        right[str(parameters)] = found
        step()
    spent = (_cpu(server) - busy) / len(seconds)
    for parameters in {str(each): each for each in question.parameters}.values():
        if not _same(right[str(parameters)], client.query(question.by_number, parameters).rows):
            raise FatalError(f"the answer to {question.name} is wrong for {parameters}")
        step()
    cold, *rest = seconds
    return Timings(_quantile(rest, 0.5), _quantile(rest, 0.95), cold, read, spent)


def _id(client: ClickHouse, kind: str, number: int) -> str:
    sql = "SELECT hex(sipHash128({kind:String}, {number:UInt32}))"
    ((found,),) = client.query(sql, {"kind": kind, "number": number}).rows
    return str(UUID(hex=found))


def _same(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    """Compare rows; numbers may differ in the ninth digit, because sums of floats depend on their order."""
    return len(rows) == len(others) and all(
        math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) if isinstance(one, float) and other is not None else one == other
        for row, found in zip(rows, others, strict=True)
        for one, other in zip(row, found, strict=True)
    )


def _quantile(seconds: Sequence[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


def _cpu(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])
