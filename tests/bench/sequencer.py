"""The pure steps `identify` and `link`: decisions of the sequencer per second, and the lookup of known touchpoints.

No Kafka and no RocksDB: rows are in memory. Time is processor time of this process, without decoding.
"""

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

from schemas.wire.codec import decode, encode
from schemas.wire.topics import IDENTITY
from streams.contract import Output, Record, Rows
from streams.identity.naming import Naming
from streams.identity.rules import Rules
from streams.steps.identify import Identify
from streams.steps.identity import read_copy_row
from streams.steps.link import Link

SECRET = b"secret of the benchmark"
BEGIN = 1_760_000_000_000
CHUNK = 500
MICROSECONDS = 1_000_000
Identifiers = list[tuple[str, str]]


class Cost(NamedTuple):
    """Cost of a case. `row_bytes` is the largest row."""

    seconds: float
    outputs: int
    row_bytes: int


def new_customer(number: int) -> Identifiers:
    return [("erp_party", f"shop/{number}"), ("email", f"c{number}@example.org")]


def growing_customer(number: int) -> Identifiers:
    """Return the three touchpoints of a customer, which bring one identifier each."""
    customer, step = divmod(number, 3)
    email = ("email", f"c{customer}@example.org")
    return [[email], [email, ("erp_party", f"shop/{customer}")], [email, ("phone", f"+49{customer}")]][step]


def new_cookie(number: int) -> Identifiers:
    return [("email", f"c{number // 10}@example.org"), ("cookie", f"web/{number}")]


def shared_address(number: int) -> Identifiers:
    return [("erp_party", f"shop/{number}"), ("email", "info@example.org")]


CASES: dict[str, Callable[[int], Identifiers]] = {
    "two new identifiers": new_customer,
    "a customer that grows by one identifier": growing_customer,
    "the next cookie of a customer": new_cookie,
    "strangers with one address": shared_address,
}


def make_record(number: int, identifiers: Identifiers) -> Record:
    fields = {
        "event_id": number.to_bytes(16, "big"),
        "source": "erp",
        "system": "shop",
        "connector": "bench",
        "type": "order.placed",
        "channel": "web",
        "occurred_at": BEGIN + number,
        "received_at": BEGIN + number,
        "identifiers": [{"kind": kind, "value": value} for kind, value in identifiers],
        "attributes": {},
    }
    value = encode("erp", fields)
    return Record(*decode(value), value, number, number)


def refuse(record: Record, error: Exception) -> None:
    raise AssertionError(error)


def run_link(link: Link, records: list[Record]) -> tuple[Cost, list[Output]]:
    """Process the records in chunks, and return the cost with all outputs."""
    store: dict[bytes, tuple[int, bytes]] = {}
    outputs: list[Output] = []
    seconds = 0.0
    for start in range(0, len(records), CHUNK):
        chunk = records[start : start + CHUNK]
        rows = Rows(lambda keys: [store.get(key) for key in keys])
        begin = time.process_time()
        outputs += link.process(chunk, rows, refuse)
        changes = list(rows.changes())
        seconds += time.process_time() - begin
        store.update((key, (chunk[-1].offset, row)) for key, row in changes)
    return Cost(seconds, len(outputs), max(len(row) for _, row in store.values())), outputs


def measure_lookup(outputs: list[Output], records: list[Record]) -> float:
    """Return the seconds to find the customers of all records, which the copy knows."""
    copy = {each.key: row for each in outputs if each.topic == IDENTITY and (row := read_copy_row(each.value))}
    naming = Naming(SECRET, Rules())
    identify = Identify(copy.get, naming)
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        found = [identify.find_owner(naming.name(record.fields)) for record in records]
        best = min(best, time.process_time() - begin)
        assert all(found)
    return best


@click.command()
@click.option("--count", default=50_000, show_default=True, help="Touchpoints of each case.")
def main(count: int) -> None:
    """Print the cost of each case."""
    gc.disable()  # the worker runs the collector rarely (`reduce_garbage_collection`)
    table = Table("case", "decisions/s", "µs", "outputs each", "largest row")
    for title, identifiers in CASES.items():
        records = [make_record(number, identifiers(number)) for number in range(count)]
        cost, outputs = run_link(Link(Naming(SECRET, Rules())), records)
        micros = cost.seconds / count * MICROSECONDS
        table.add_row(title, f"{count / cost.seconds:,.0f}", f"{micros:.1f}", f"{cost.outputs / count:.1f}", str(cost.row_bytes))
        if identifiers is new_customer:
            known = measure_lookup(outputs, records) / count * MICROSECONDS
    table.add_row("lookup of a known touchpoint in identify", "", f"{known:.1f}", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
