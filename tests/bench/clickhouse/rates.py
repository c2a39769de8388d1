"""Rate of the sink of touchpoints, compared with a bare reader and with ClickHouse's own Kafka engine.

All three fill `touchline_store.touchpoints_by_event` and its copies, one after the other, each from the same orders.
The clock runs from the first rows in the table until it has `records`; SPARE more are on Kafka, so no block waits to be filled.
The engine cannot decode a `resolved` record, because its touchpoint is a nested record. It reads the same touchpoints in the form
of their source topic, so it decodes less. The number of customers is the same.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local.state import Stack
from schemas.errors import FatalError
from schemas.records.identifiers import identifier_id
from schemas.wire.codec import encode
from schemas.wire.registry import load_schema
from schemas.wire.topics import PARTITIONS
from sinks.clickhouse import ClickHouse
from streams.contract import Output
from streams.steps.resolved import forward_to_customer
from tests.bench.clickhouse.bars import Bar
from tests.bench.publish import publish
from tests.harness.sinks import COPIES
from tests.harness.stack import TOUCHLINE

BEGIN = 1_750_000_000_000
SECRET = b"secret of the benchmark"
CUSTOMERS = 20_000
BLOCK = 50_000
SPARE = 2 * BLOCK  # the engine ends a block with the poll of up to BLOCK records that fills it
LOOK_SECONDS, LIMIT_SECONDS = 0.05, 300.0
Look = tuple[float, int]  # seconds, rows in the table
QUEUE = """
    CREATE TABLE touchline_store.bench_queue
    (
        event_id FixedString(16), source String, system String, connector String, type String, channel String, occurred_at Int64,
        received_at Int64, text Nullable(String), attributes Map(String, String), order_id Nullable(String),
        product Nullable(String), quantity Nullable(Float64), amount Nullable(Int64), currency Nullable(String)
    )
    ENGINE = Kafka
    SETTINGS kafka_broker_list = '{broker}', kafka_topic_list = 'touchline.erp', kafka_group_name = 'bench-engine',
        kafka_format = 'AvroConfluent', kafka_num_consumers = 1, kafka_max_block_size = {block},
        format_avro_schema_registry_url = '{registry}'
"""
STORED = "SELECT total_rows FROM system.tables WHERE database = 'touchline_store' AND name = 'touchpoints_by_event'"
QUEUE_TO_TABLE = """
    CREATE MATERIALIZED VIEW touchline_store.bench_queue_to_table TO touchline_store.touchpoints_by_event AS
    SELECT * EXCEPT (occurred_at, received_at), sipHash128(cityHash64(order_id) % {customers}) AS customer_id,
        fromUnixTimestamp64Milli(occurred_at, 'UTC') AS occurred_at, fromUnixTimestamp64Milli(received_at, 'UTC') AS received_at,
        _partition AS record_partition, _offset AS record_offset
    FROM touchline_store.bench_queue
"""


def measure(stack: Stack, console: Console, records: int) -> list[Bar]:
    """Measure rows per second of all three, and the ratio of the sink to the others; tables and topics exist."""
    client, published = ClickHouse(), records + SPARE
    try:
        with Progress(console=console) as progress:
            publish(orders(published), 2 * published, progress, "publish")
            found = {
                "the sink": rate(client, records, lambda: process(TOUCHLINE, "sink", "touchpoints", "--no-restart")),
                "bare read, decode, insert": rate(
                    client, records, lambda: process(sys.executable, "-m", "tests.bench.clickhouse.bare", published)
                ),
                "ClickHouse's Kafka engine": rate(client, records, lambda: engine(client, stack)),
            }
    finally:
        client.close()
    sink, bare, own = found.values()
    shown = Table(title=f"{records:,} touchpoints from Kafka into ClickHouse, all copies made")
    shown.add_column("by")
    shown.add_column("rows a second", justify="right")
    shown.add_column("the sink's share", justify="right")
    for by, per_second in found.items():
        shown.add_row(by, f"{per_second:,.0f}", f"{sink / per_second:.2f}")
    console.print(shown)
    return [Bar("sink_vs_insert", sink / bare, 0.6, least=True), Bar("sink_vs_kafka_engine", sink / own, 0.8, least=True)]


def orders(count: int) -> Iterator[Output]:
    """Yield each order twice: as its source publishes it, and resolved."""
    dice = Random(20261122)
    for number in range(count):
        customer = dice.randrange(CUSTOMERS)
        fields = {
            "event_id": dice.randbytes(16),
            "source": "erp",
            "system": "bench",
            "connector": "bench",
            "type": "order.placed",
            "channel": "web",
            "occurred_at": BEGIN + number,
            "received_at": BEGIN + number + 1_000,
            "identifiers": [{"kind": "email", "value": f"c{customer}@example.org"}],
            "attributes": {"segment": "home"},
            "order_id": f"O-{number}",
            "product": f"P-{dice.randrange(2_000)}",
            "quantity": 1.0,
            "amount": dice.randrange(10**7),
            "currency": "EUR",
        }
        value = encode("erp", fields)
        yield Output("touchline.erp", number % PARTITIONS, str(customer).encode(), value)
        customer_id = identifier_id(SECRET, "email", f"c{customer}@example.org")
        yield forward_to_customer(fields, value, customer_id, (customer_id,))


def rate(client: ClickHouse, records: int, running: Callable[[], Any]) -> float:
    """Return rows per second until all rows are stored. Raises FatalError if it takes too long."""
    for table in ("touchpoints_by_event", *COPIES):
        client.execute(f"TRUNCATE TABLE touchline_store.{table}")
    end, rows, looks = time.monotonic() + LIMIT_SECONDS, 0, list[Look]()
    with running():
        while rows < records + SPARE:
            ((rows,),) = client.query(STORED).rows
            looks.append((time.monotonic(), rows))
            if time.monotonic() > end:
                raise FatalError(f"only {rows} of {records + SPARE} touchpoints were stored within {LIMIT_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)
    return per_second(looks, records)


def per_second(looks: Sequence[Look], records: int) -> float:
    """Return the rate from the first sample with rows to the sample with `records`. Raises FatalError if these are the same."""
    began, first = next(look for look in looks if look[1])
    ended, last = next(look for look in looks if look[1] >= records)
    if first == last:
        raise FatalError(f"the first {records} touchpoints came in one block: measure with more --records")
    return (last - first) / (ended - began)


@contextmanager
def process(*command: object) -> Iterator[None]:
    started = subprocess.Popen([str(each) for each in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        started.terminate()
        started.wait(timeout=30)


class Registry(BaseHTTPRequestHandler):
    """The part of a schema registry that the engine uses: one schema by its id."""

    def do_GET(self) -> None:
        body = json.dumps({"schema": json.dumps(load_schema(int(self.path.rpartition("/")[2])))}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def engine(client: ClickHouse, stack: Stack) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        broker, registry = f"127.0.0.1:{stack.kafka_port}", f"http://127.0.0.1:{server.server_port}"
        client.execute(QUEUE.format(broker=broker, registry=registry, block=BLOCK))
        client.execute(QUEUE_TO_TABLE.format(customers=CUSTOMERS))
        yield
    finally:
        for name in ("bench_queue_to_table", "bench_queue"):
            client.execute(f"DROP TABLE IF EXISTS touchline_store.{name} SYNC")
        server.shutdown()
        server.server_close()
