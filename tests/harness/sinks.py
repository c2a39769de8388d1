"""Shared parts of the tests of sinks: records, publishing, the command as a process, queries, tables and views."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from kafka import KafkaProducer

from schemas.records.dead_letter import Headers
from schemas.records.families import FAMILIES
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import Fields, encode
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from sinks.rights.masks import COLUMN, PARAMETER, VIEW_FORM
from sinks.scripts import Script, load_migrations, view_statements
from tests.harness.stack import TOUCHLINE

MATERIALIZED = re.compile(
    r"^CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store\.(\w+)\n(REFRESH .+ )?TO touchline_store\.(\w+)$", re.MULTILINE
)
FILLED = {found for script in load_migrations() for found in MATERIALIZED.findall(script.sql)}
# Tables that ClickHouse fills with each insert into another table, and views that rebuild a table at intervals.
COPIES = sorted(
    {target for _, refresh, target in FILLED if not refresh}
    - {table.stored.partition(".")[2] for table in load_tables().values()}
)
REFRESHED = sorted(name for name, refresh, _ in FILLED if refresh)
# Columns whose values depend on the clock of the server.
CLOCKS = ("stored_at", "lag_seconds", "made_at", "age_seconds")
STARTED: list[subprocess.Popen[str]] = []
NOW = 1_760_000_000_000
RESOLVED: Fields = {
    "stage": "purchase",
    "source": "erp",
    "system": "sim-desk",
    "connector": "files",
    "type": "order.placed",
    "channel": "web",
    "occurred_at": NOW,
    "received_at": NOW + 1_000,
    "identifiers": [{"kind": "email", "value": "ada@example.org"}],
    "attributes": {},
}
SURVEY: Fields = {"source": "feedback", "type": "survey.answered", "survey_id": "survey", "question_id": "question"}
# Fields of a flat `resolved` record that the record of its family lacks.
RESOLUTION = ("customer_id", "stage", "nodes")
KEYS = ("identifier_id", "customer_id", "letter_id", "evidence_id", "decision_id")
JOURNEY: Fields = {
    "version": 1,
    "deleted": False,
    "definition": "telecom-1",
    "status": "open",
    "outcome": "",
    "stage": "use",
    "started_at": NOW,
    "last_at": NOW,
    "touchpoints": 1,
    "channels": ["web"],
    "stages": ["use"],
    "friction": 0,
    "moments_of_truth": [],
}
READING: Fields = {
    "signal": "satisfaction",
    "event_id": None,
    "at": NOW,
    "version": 1,
    "deleted": False,
    "definition": "satisfaction-1",
    "value": 70.0,
    "low": 60.0,
    "high": 80.0,
    "evidence": 1,
    "numbers": {},
    "drivers": [],
}
STATE: Fields = {
    "stream": "orders",
    "cursor": "{}",
    "read": 0,
    "published": 0,
    "dead_lettered": 0,
    "repeated": 0,
    "last_event_at": NOW,
    "last_success_at": NOW,
}


class Stored(NamedTuple):
    """A record as Kafka returns it."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


def resolved(**fields: Any) -> Fields:
    """Return a touchpoint of a new customer with these fields instead of the defaults, as a flat record for `encode_record`.

    `nodes` holds the ids of its identifiers, the strongest first.
    Raises ValueError for a field that the family of its `source` lacks.
    """
    record = {**RESOLVED, "event_id": uuid4().bytes, "customer_id": uuid4().bytes, **fields}
    strange = record.keys() - FAMILIES[record["source"]].model_fields.keys() - set(RESOLUTION)
    if strange:
        raise ValueError(f"a touchpoint of {record['source']} has no field {min(strange)}")
    return record


def survey(**fields: Any) -> Fields:
    """Return a touchpoint with an answer to a survey question."""
    return resolved(**{**SURVEY, **fields})


def reading(**fields: Any) -> Fields:
    return {**READING, "reading_id": uuid4().bytes, "customer_id": uuid4().bytes, **fields}


def journey(**fields: Any) -> Fields:
    return {**JOURNEY, "journey_id": uuid4().bytes, "customer_id": uuid4().bytes, **fields}


def route(
    customer: bytes, current: bytes, exceptions: Mapping[bytes, bytes] | None = None, shared: Iterable[bytes] = ()
) -> Fields:
    """Return the route of a customer id; `exceptions` holds the owner of each identifier that is not owned by `current`."""
    listed = [{"identifier_id": node, "customer_id": owner} for node, owner in (exceptions or {}).items()]
    return {"customer_id": customer, "current": current, "shared": list(shared), "exceptions": listed, **make_cause()}


def member(identifier: bytes, customer: bytes, **fields: Any) -> Fields:
    """Return an identifier with its owner."""
    common = {"kind": "email", "value": f"{identifier.hex()}@example.org", "is_shared": False, "is_erased": False}
    return {"identifier_id": identifier, "customer_id": customer, **common, **make_cause(), **fields}


def conflict(one: bytes, other: bytes, **fields: Any) -> Fields:
    """Return the conflict of two e-mail addresses, each owned by itself."""
    values = {"value": f"{one.hex()}@example.org", "other_value": f"{other.hex()}@example.org"}
    named = {"identifier_id": one, "kind": "email", "other_id": other, "other_kind": "email", **values}
    common = {"conflict_id": uuid4().bytes, "reason": "limit", "event_id": uuid4().bytes, "at": NOW}
    return {**common, **named, "customer_id": one, "other_customer": other, **fields}


def decision(action: str, left: Iterable[bytes], right: Iterable[bytes] = (), **fields: Any) -> Fields:
    """Return a decision of Ann on these identifiers."""
    common = {"decision_id": uuid4().bytes, "undoes": None, "reason": "two people", "who": "ann", "confidence": 1.0, "at": NOW}
    return {"action": action, "left": list(left), "right": list(right), **common, **fields}


def revision(customer: bytes, number: int, **fields: Any) -> Fields:
    """Return the record of a customer whose rows were replaced `number` times."""
    return {"customer_id": customer, "revision": number, "is_complete": True, "touchpoints": 1, "at": NOW, **fields}


def make_cause() -> Fields:
    """Return rule, touchpoint and time of a change of the identity map."""
    return {"rule": "test", "event_id": uuid4().bytes, "at": NOW}


def publish(topic: str, schema: str, records: Iterable[Fields]) -> None:
    """Encode and send records, each with its key of the topic."""
    send(topic, ((key(record), encode_record(schema, record)) for record in records))


def encode_record(schema: str, record: Fields) -> bytes:
    """Return the bytes of a record; a flat `resolved` contains the record of its family. Sinks need no other field."""
    if schema != "resolved":
        return encode(schema, record)
    family = {name: value for name, value in record.items() if name not in RESOLUTION}
    return pack_resolved(record, encode(record["source"], family))


def pack_resolved(record: Fields, touchpoint: bytes) -> bytes:
    """Return a `resolved` record around these bytes of a source's record."""
    resolution = {name: record[name] for name in ("customer_id", "stage")}
    return encode("resolved", {**resolution, "identifiers": record.get("nodes"), "seen": b"", "touchpoint": touchpoint})


def key(record: Fields) -> bytes:
    if "connector" in record and "stream" in record:
        return f"{record['connector']}/{record['stream']}".encode()
    found: bytes = next(record[name] for name in KEYS if name in record)
    return found


def send(topic: str, values: Iterable[tuple[bytes | None, bytes]]) -> None:
    """Send keys and values unchanged."""
    producer = KafkaProducer(
        **KafkaSettings().kafka_python(), linger_ms=20, batch_size=131_072, compression_type="lz4", max_request_size=2**23
    )
    try:
        futures = [producer.send(topic, value=value, key=key) for key, value in values]
        for future in futures:
            future.get(30)
    finally:
        producer.close()


def sink(*arguments: str) -> subprocess.Popen[str]:
    """Start `touchline sink` as a process without a supervisor."""
    command = [str(TOUCHLINE), "sink", *arguments, "--no-restart"]
    STARTED.append(subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    return STARTED[-1]


def end_sinks() -> None:
    """Kill sinks that a failed test left, which would store the records of the next one."""
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def store(*tables: str) -> str:
    """Store all waiting records of the tables and return the log."""
    process = sink(*tables, "--until-idle", "1")
    _, log = process.communicate(timeout=90)
    assert process.returncode == 0, log
    return log


def ask(sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a query, each by column name."""
    client = ClickHouse()
    try:
        answer = client.query(sql, params)
    finally:
        client.close()
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def ask_value(sql: str, params: Mapping[str, Any] | None = None) -> Any:
    """Return the only value of a query."""
    (row,) = ask(sql, params)
    (value,) = row.values()
    return value


def call_view(view: Script) -> str:
    """Return a view as a query names it; parameters get an unknown customer and one day."""
    anything = {"UUID": "00000000-0000-0000-0000-000000000000", "Date": "2026-01-01"}
    given = ", ".join(f"{name} = '{anything[kind]}'" for name, kind in dict(PARAMETER.findall(view.sql)).items())
    return f"{view.name}({given})" if given else view.name


def declared(view: str) -> dict[str, tuple[str, str]]:
    """Return type and comment of each column that the file of a view declares, by name."""
    (columns,) = (form["columns"] for each in view_statements() if (form := VIEW_FORM.fullmatch(each)) and form["name"] == view)
    return {name: (kind, comment.replace("''", "'")) for name, kind, comment in COLUMN.findall(columns)}


def row_key(table: str) -> tuple[str, ...]:
    """Return the columns that identify a row of a table: the columns of the sort key that it is created with."""
    created = re.compile(
        rf"^CREATE TABLE IF NOT EXISTS {load_tables()[table].stored}\b.*?^ORDER BY (.+?)$", re.MULTILINE | re.DOTALL
    )
    key = next(found[1] for each in load_migrations() if (found := created.search(each.sql)))
    return tuple(re.findall(r"\w+\b(?!\()", key))


def except_columns(view: str, *omitted: str) -> str:
    """Return the EXCEPT clause that leaves out columns which depend on the run."""
    names = [name for name in declared(view) if name in (*CLOCKS, *omitted)]
    return f" EXCEPT ({', '.join(names)})" if names else ""


def refresh() -> None:
    """Rebuild the tables that ClickHouse rebuilds every ten minutes."""
    for view in REFRESHED:
        ask(f"SYSTEM REFRESH VIEW touchline_store.{view}")
        ask(f"SYSTEM WAIT VIEW touchline_store.{view}")


def to_uuid(identifier: bytes) -> UUID:
    return UUID(bytes=identifier)
