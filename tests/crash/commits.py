"""Checks that no committed offset is ahead of the work: each record before an offset must have left its results.

Read the offsets first and the results afterwards: a result that existed at the commit exists later, too. Check while no process
works: a missing result cannot be on its way then.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping

from deploy.demo.flow import WORK_GROUP
from schemas.records.families import FAMILIES
from schemas.wire.codec import decode
from schemas.wire.topics import CONNECTOR_STATE, DEAD_LETTERS, IDENTITY_REQUESTS, RESOLVED, source_topic
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables
from streams.steps.route import read_route
from tests.crash.log import Committed, Entry, Log
from tests.crash.rows import Row, customer_rows
from tests.harness.sinks import row_key

KEYS = {table: row_key(table) for table in load_tables()}
SOURCES = tuple(source_topic(source) for source in FAMILIES)
Stored = Mapping[str, Mapping[tuple[str, ...], int]]


def read_stored_keys(client: ClickHouse) -> Stored:
    """Return the keys of every table, ids as hexadecimal digits, with their highest version."""
    found = {}
    for table, names in KEYS.items():
        keys = ", ".join(f"lower(hex({name}))" for name in names)
        version = "max(version)" if "version" in load_tables()[table].columns else "0"
        rows = client.query(f"SELECT {keys}, {version} FROM {load_tables()[table].stored} GROUP BY {keys}").rows
        found[table] = {tuple(row[:-1]): row[-1] for row in rows}
    return found


def find_commits_ahead(committed: Committed, log: Log, stored: Stored, rows: Mapping[str, list[bytes]]) -> list[str]:
    """Return the records before a committed offset or a saved cursor that left no result; an empty list is correct."""
    work = committed.get(WORK_GROUP, {})
    letters = log.dead_letters()
    found = [f"files: {stream} row {row + 1}" for stream, row in _connector(log, rows)]
    found += [f"identify: {each.origin}" for each in _identify(work, log, letters)]
    found += [f"link: {each.origin}" for each in _link(work, log, letters)]
    found += [f"join: {each.origin}" for each in _join(work, log, letters)]
    for table in KEYS:
        offsets = committed.get(f"touchline-sink-{table}", {})
        found += [f"sink {table}: {each.origin}" for each in _sink(table, offsets, log, stored, letters)]
    return found


def committed_records(offsets: Mapping[tuple[str, int], int], log: Log, *topics: str) -> Iterator[Entry]:
    """Yield the records before the committed offsets of a group."""
    for topic in topics:
        yield from (each for each in log.entries[topic] if each.offset < offsets.get((topic, each.partition), 0))


def _connector(log: Log, rows: Mapping[str, list[bytes]]) -> Iterator[tuple[str, int]]:
    there = {each.fields["event_id"] for topic in SOURCES for each in log.entries[topic] if each.name}
    there |= {each.fields["letter_id"] for each in log.entries[DEAD_LETTERS]}
    behind = {each.fields["stream"]: json.loads(each.fields["cursor"])["rows"] for each in log.entries[CONNECTOR_STATE]}
    for stream, count in behind.items():
        yield from ((stream, row) for row, left in enumerate(rows[stream][:count]) if left and left not in there)


def _identify(work: Mapping[tuple[str, int], int], log: Log, letters: set[tuple[str, str]]) -> Iterator[Entry]:
    passed = _resolved(log) | {each.fields.get("event_id") for each in log.entries[IDENTITY_REQUESTS]}
    for each in committed_records(work, log, *SOURCES):
        if not (each.fields["event_id"] in passed if each.name else ("identify", each.origin) in letters):
            yield each


def _link(work: Mapping[tuple[str, int], int], log: Log, letters: set[tuple[str, str]]) -> Iterator[Entry]:
    passed, decided = _resolved(log), log.decisions()
    for each in committed_records(work, log, IDENTITY_REQUESTS):
        if each.name == "decision":
            done = each.fields["decision_id"] in decided
        else:
            done = each.fields["event_id"] in passed if each.name else ("link", each.origin) in letters
        if not done:
            yield each


def _resolved(log: Log) -> set[bytes]:
    return {event_id for each in log.entries[RESOLVED] if each.name == "resolved" for event_id in each.ids()}


def _join(work: Mapping[tuple[str, int], int], log: Log, letters: set[tuple[str, str]]) -> Iterator[Entry]:
    customers = customer_rows(log)
    holds = defaultdict(set, {customer: set(row.ids) for customer, row in customers.items()})
    gave: defaultdict[bytes, set[bytes]] = defaultdict(set)
    routes: defaultdict[bytes, list[Entry]] = defaultdict(list)
    for each in log.entries[RESOLVED]:
        if each.name == "moved":
            gave[each.fields["from_customer"]] |= each.ids()
        elif each.name == "route":
            routes[each.fields["customer_id"]].append(each)
    for each in committed_records(work, log, RESOLVED):
        customer = each.fields.get("customer_id", b"")
        row = customers.get(customer, Row([], {}, []))
        if each.name == "route":
            later = [read_route(other.fields) for other in routes[customer] if other.offset >= each.offset]
            done = row.route in later
        elif each.name:
            is_replaced = each.name != "history" or row.revision > 0
            missing = [one for one in each.touchpoints() if one.id not in holds[customer] and one.id not in gave[customer]]
            done = is_replaced and all(map(row.may_lack, missing))
        else:
            done = ("join", each.origin) in letters
        if not done:
            yield each


def _sink(
    table: str, offsets: Mapping[tuple[str, int], int], log: Log, stored: Stored, letters: set[tuple[str, str]]
) -> Iterator[Entry]:
    chosen = load_tables()[table]
    for each in committed_records(offsets, log, chosen.topic):
        if each.name in chosen.schemas:
            done = stored[table].get(_key(table, each), -1) >= each.fields.get("version", 0)
        else:
            done = bool(each.name) or (chosen.stage, each.origin) in letters
        if not done:
            yield each


def _key(table: str, each: Entry) -> tuple[str, ...]:
    fields = decode(each.fields["touchpoint"])[1] if "touchpoint" in each.fields else each.fields
    return tuple(_hex(fields[name]) for name in KEYS[table])


def _hex(value: str | bytes | int) -> str:
    """Return what ClickHouse's hex returns, in lower case."""
    if isinstance(value, int):
        return value.to_bytes(max(1, (value.bit_length() + 7) // 8)).hex()
    return (value.encode() if isinstance(value, str) else value).hex()
