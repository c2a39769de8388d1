"""Fills the tables from functions of row numbers, in the server: any answer can be computed again without a table.

Touchpoint `number` belongs to customer `number` hashed, of `customers`; every hundredth customer was merged into the next one;
every 33rd touchpoint was stored twice. Each touchpoint brought one satisfaction and one churn reading, every tenth began a
journey.
"""

from rich.progress import Progress

from sinks.clickhouse import ClickHouse

PIECE = 1_000_000
TWICE = 33
MERGED = 100
BEGINS = 10
LAST_DAY = "2026-11-21"
# A UUIDv5 but for the bits of its version.
JOURNEY_ID = """
    substring(SHA1(concat(sipHash128('customer', toUInt32(owner)), 'telecom-1/', lower(hex(sipHash128('event', number))))), 1, 16)
"""

# One row per touchpoint; every other value is a function of these.
FACTS = """
    SELECT
        number,
        toUInt32(intHash64(number) % {customers:UInt32}) AS customer,
        customer + (customer % 100 = 0) AS customer_now,
        cityHash64('facts', number) AS h,
        toDateTime64('2025-11-22 00:00:00', 3, 'UTC')
            + toIntervalMillisecond(cityHash64('at', number) % (365 * 86400000)) AS occurred_at,
        least(intDiv(h % 1000, 150), 6) AS family,
        ['erp', 'web', 'support', 'feedback', 'crm', 'inventory', 'social'][1 + family] AS source,
        [
            ['order.placed', 'invoice.issued', 'return.received'], ['page.viewed', 'cart.abandoned', 'login.failed'],
            ['ticket.opened', 'ticket.solved', 'call.ended'], ['survey.offered', 'survey.answered', 'survey.answered'],
            ['contract.signed', 'lead.created', 'offer.sent'], ['shipment.delayed', 'delivery.completed', 'stock.out'],
            ['post.published', 'review.published', 'reply.received']
        ][1 + family][1 + h % 3] AS type,
        ['web', 'app', 'email', 'phone', 'chat', 'store'][1 + intDiv(h, 3) % 6] AS channel,
        ['awareness', 'consideration', 'purchase', 'onboarding', 'use', 'support', 'retention', 'advocacy']
            [1 + intDiv(h, 18) % 8] AS stage,
        if(family = 3, ['nps', 'csat', 'ces'][1 + intDiv(h, 1000) % 3], NULL) AS metric,
        if(metric = 'nps', intDiv(h, 5000) % 11, 1 + intDiv(h, 5000) % 7) AS given,
        if(type = 'survey.answered', toFloat64(given), NULL) AS answer,
        if(type = 'order.placed', toInt64(intDiv(h, 144) % 10000000), NULL) AS amount,
        ['home', 'business', 'public'][1 + customer % 3] AS segment,
        toFloat64(intDiv(h, 144) % 2001) / 100 - 10 AS change
    FROM numbers_mt({first:UInt64}, {count:UInt64})
"""
TOUCHPOINTS = f"""
    INSERT INTO touchline_store.touchpoints_by_event
    (
        event_id, customer_id, source, system, connector, type, channel, stage, occurred_at, received_at, text, metric, answer,
        scale_low, scale_high, survey_id, question_id, amount, currency, product, quantity, order_id, ticket_id, attributes,
        identifier_ids, record, record_partition, record_offset
    )
    SELECT
        sipHash128('event', number), sipHash128('customer', customer), source, concat('sim-', source), source, type, channel,
        stage, occurred_at, occurred_at + toIntervalSecond({{again:UInt8}} * 60),
        if(source IN ('support', 'social'), repeat(hex(cityHash64('text', number)), 8), NULL), metric, answer,
        if(metric IS NULL, NULL, if(metric = 'nps', 0, 1)), if(metric IS NULL, NULL, if(metric = 'nps', 10, 7)),
        if(metric IS NULL, NULL, 'survey'), if(metric IS NULL, NULL, concat('question-', toString(h % 9))),
        amount, if(amount IS NULL, NULL, 'EUR'), if(source IN ('erp', 'inventory'), concat('P-', toString(h % 20000)), NULL),
        if(amount IS NULL, NULL, 1.), if(source IN ('erp', 'inventory'), concat('O-', toString(h % 5000000)), NULL),
        if(source = 'support', concat('T-', toString(h % 5000000)), NULL),
        map('segment', segment, 'page', concat('/p/', toString(h % 100000))),
        if(h % 3 = 0, [sipHash128('customer', customer)], [sipHash128('customer', customer), sipHash128('email', customer)]),
        repeat(hex(cityHash64('record', number)), 16),
        number % 8, intDiv(number, 8)
    FROM ({FACTS})
"""


def readings(signal: str, value: str, numbers: str) -> str:
    """Return the statement that inserts one reading per touchpoint."""
    return f"""
    INSERT INTO touchline_store.{signal}_by_customer
    (
        reading_id, customer_id, signal, event_id, at, version, deleted, definition, value, low, high, evidence, numbers,
        driver_event_ids, driver_contributions, driver_texts, record_partition, record_offset
    )
    SELECT
        sipHash128('{signal}', number), sipHash128('customer', customer), '{signal}', sipHash128('event', number), occurred_at,
        1, 0,
        '{signal}-1', {value}, {value} * 0.9, {value} * 1.1, 1 + h % 40, {numbers}, [sipHash128('event', number)], [change],
        ['what the touchpoint said'], number % 8, intDiv(number, 8)
    FROM ({FACTS})
"""


SATISFACTION = readings("satisfaction", "50 + change", "map('change', change)")
IDLE = "map('horizon_days', 30., 'idle_days', toFloat64(h % 30), 'baseline', 0.5)"
CHURN = readings("churn", "toFloat64(h % 1000) / 1000", IDLE)
# A customer that went up in another left journeys behind, which were begun anew for the other.
JOURNEYS = f"""
    INSERT INTO touchline_store.journeys_by_customer
    (
        journey_id, customer_id, version, deleted, definition, status, outcome, stage, started_at, last_at, touchpoints, channels,
        stages, friction, moments_of_truth, record_partition, record_offset
    )
    SELECT
        {JOURNEY_ID}, sipHash128('customer', toUInt32(owner)), 1 + {{again:UInt8}}, 0, 'telecom-1',
        if(number % {2 * BEGINS}, 'closed', 'open'), if(number % {2 * BEGINS}, 'bought', ''), 'use', occurred_at,
        occurred_at + toIntervalDay(36), 10, ['web', 'app'], ['use', 'support'], h % 3,
        [sipHash128('event', number)], number % 8, intDiv(number, 8)
    FROM ({FACTS})
    ARRAY JOIN arrayDistinct([customer, customer_now]) AS owner
    WHERE number % {BEGINS} = 0
"""
ROUTES = """
    INSERT INTO touchline_store.routes (customer_id, current, rule, event_id, at, record_partition, record_offset)
    SELECT
        sipHash128('customer', toUInt32(number * 100)), sipHash128('customer', toUInt32(number * 100 + 1)), 'same-email',
        sipHash128('event', number), now64(3), 0, number
    FROM numbers({first:UInt64}, {count:UInt64})
"""
REVISIONS = """
    INSERT INTO touchline_store.revisions (customer_id, revision, is_complete, at, record_partition, record_offset)
    SELECT sipHash128('customer', toUInt32(number * 100)), 1, 1, now64(3), 0, number
    FROM numbers({first:UInt64}, {count:UInt64})
"""


def fill(client: ClickHouse, progress: Progress, touchpoints: int, customers: int) -> None:
    """Insert all rows, a million at a time: half of the merges before the touchpoints, half after them."""
    merges = customers // MERGED
    _insert(client, progress, "merges", ROUTES, merges // 2, customers)
    _insert(client, progress, "touchpoints", TOUCHPOINTS, touchpoints, customers)
    repeated = TOUCHPOINTS.replace("FROM numbers_mt(", f"FROM (SELECT number * {TWICE} AS number FROM numbers_mt(").replace(
        "{count:UInt64})\n)", "{count:UInt64}))\n)"
    )
    _insert(client, progress, "touchpoints again", repeated, touchpoints // TWICE, customers, again=1)
    _insert(client, progress, "satisfaction", SATISFACTION, touchpoints, customers)
    _insert(client, progress, "churn", CHURN, touchpoints, customers)
    for again in (0, 1):
        _insert(client, progress, "journeys", JOURNEYS, touchpoints, customers, again=again)
    _insert(client, progress, "merges", ROUTES, merges - merges // 2, customers, start=merges // 2)
    _insert(client, progress, "revisions", REVISIONS, merges, customers)


def _insert(
    client: ClickHouse, progress: Progress, what: str, sql: str, count: int, customers: int, *, again: int = 0, start: int = 0
) -> None:
    task = progress.add_task(what, total=count)
    for first in range(start, start + count, PIECE):
        piece = min(PIECE, start + count - first)
        client.query(sql, {"first": first, "count": piece, "customers": customers, "again": again})
        progress.advance(task, piece)
    progress.remove_task(task)
