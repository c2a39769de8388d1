"""A real Debezium 3.6 on a real PostgreSQL: all formats, deletes, snapshots, kills of both sides, lag."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from connectors.contract import Record
from connectors.debezium.connector import Connector
from connectors.settings import open_connector
from schemas.errors import RecordError
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import source_topic
from tests.harness.connectors import connect, kill_at_each_step, records, states, wait_for_exit
from tests.harness.waiting import eventually
from tests.live.databases import Server, Session, postgresql
from tests.live.debezium.engine import UNWRAP, avro, debezium, plain, schema_registry
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
MAX_WAIT_SECONDS = 180
AS_TEXT = {"decimal.handling.mode": "string"}
FORMATS = ("json", "json with its schema", "unwrapped", "avro")
ATTRIBUTES = {"state": "after.state", "note": "after.note", "before": "before", "any": "number(after.any_scale)"}
MAP = {
    "type": 'lookup(op, `{"c": "order.placed", "u": "order.changed", "d": "order.deleted"}`)',
    "channel": "'web'",
    "occurred_at": "epoch_ms(source.ts_ms)",
    "identifiers": {"erp_party": "id(after.customer || before.customer || key.id)"},
    "order_id": "id(key.id)",
    "amount": "number(after.total)",
    "attributes": ATTRIBUTES,
}
KNOWN = {**MAP, "type": "'order.known'"}
TABLE = """CREATE TABLE orders (id bigint PRIMARY KEY, customer text, state text, total numeric(10,2), any_scale numeric,
note text, created_at timestamptz NOT NULL DEFAULT now())"""
INSERT = "INSERT INTO orders (id, customer, state, total, any_scale, note) VALUES (%s, %s, %s, 9.90, 1.5, %s)"
UPDATE = "UPDATE orders SET state = %s WHERE id = %s"


class Source:
    """A database, the topic of its orders, and the settings of a connector that reads the topic."""

    def __init__(self, server: Server, shop: Session, kafka: KafkaSettings, folder: Path) -> None:
        self.server, self.shop, self.kafka, self.folder = server, shop, kafka, folder
        self.name = f"dbz-{uuid4().hex[:12]}"
        self.topic = f"{self.name}.public.orders"
        self.offsets = folder / f"{self.name}.offsets"
        self._stack = ExitStack()

    def create(self, partitions: int = 1) -> None:
        with closing(KafkaAdminClient(**self.kafka.kafka_python())) as admin:
            given = {"num_partitions": partitions, "replication_factor": 1}
            admin.create_topics({self.topic: given}, wait_for_metadata=True)

    @contextmanager
    def engine(self, form: str = "json", **given: str) -> Iterator["subprocess.Popen[bytes]"]:
        with debezium(self.server, self.kafka.bootstrap_servers, self.folder, self.name, form, **given) as running:
            yield running

    def change(self, sql: str, *values: Any) -> int:
        """Change a row and return the id of the transaction."""
        ((transaction,),) = self.shop.run(f"{sql} RETURNING txid_current()", *values)
        return int(transaction)

    def wait_until_saved(self, transaction: int) -> None:
        """Wait until Debezium's offset file contains the transaction."""
        offset = f'"txId":{transaction},'.encode()
        eventually(lambda: self.offsets.exists() and offset in self.offsets.read_bytes(), MAX_WAIT_SECONDS)

    def count_records(self, partitions: int = 1) -> int:
        with closing(KafkaConsumer(**self.kafka.kafka_python())) as consumer:
            return sum(consumer.end_offsets([TopicPartition(self.topic, number) for number in range(partitions)]).values())

    def wait(self, count: int, partitions: int = 1) -> None:
        eventually(lambda: self.count_records(partitions) >= count, MAX_WAIT_SECONDS)

    def settings(self, topic: dict[str, Any] | None = None, **given: Any) -> Path:
        orders = {"topic": self.topic, "source": "erp", "system": "shop", "map": MAP, **(topic or {})}
        path = self.folder / "settings.yaml"
        where = {"name": self.name, "bootstrap_servers": self.kafka.bootstrap_servers, "poll_seconds": 0.2}
        path.write_text(yaml.safe_dump({**where, "topics": {"orders": orders}, **given}))
        return path

    def open(self, topic: dict[str, Any] | None = None, **given: Any) -> Connector:
        found = open_connector("debezium", self.settings(topic, **given), {})
        assert isinstance(found, Connector)
        self._stack.callback(found.close)
        return found

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run in a folder outside of pytest's, because only root may enter those and the server runs as another user."""
    with TemporaryDirectory(prefix="touchline-database-") as outside:
        Path(outside).chmod(0o711)
        folder = Path(outside) / "server"
        folder.mkdir()
        with postgresql(folder, "wal_level=logical", "max_replication_slots=30", "max_wal_senders=30") as running:
            yield running


@pytest.fixture
def source(server: Server, kafka: KafkaSettings, tmp_path: Path) -> Iterator[Source]:
    with closing(server.session()) as shop:
        shop.run("DROP TABLE IF EXISTS orders")
        shop.run(TABLE)
        with closing(Source(server, shop, kafka, tmp_path)) as found:
            yield found


def read(connector: Connector) -> list[Record]:
    return [
        record
        for stream in connector.list_streams({})
        for batch in connector.read(stream, None)
        for record in batch.records
        if isinstance(record, Record)
    ]


def describe_events(connector: Connector) -> list[tuple[str, dict[str, Any]]]:
    """Return type and fields of each event in the order of the topic."""
    found = [connector.map_record(record) for record in read(connector)]
    return [
        (each.type, {"id": each.order_id, "by": each.identifiers[0].value, "amount": str(each.amount), **each.attributes})  # type: ignore[attr-defined]
        for each in found
    ]


def change_orders(shop: Session) -> None:
    """Make all kinds of changes: an update that keeps a long text, two updates in one transaction, a delete."""
    shop.run("ALTER TABLE orders ALTER note SET STORAGE EXTERNAL")
    shop.run(INSERT, 3, "c3", "new", "long" * 5_000)
    shop.run("UPDATE orders SET state = 'paid' WHERE id = 3")
    shop.run("BEGIN")
    shop.run("UPDATE orders SET state = 'packed' WHERE id = 1")
    shop.run("UPDATE orders SET state = 'sent' WHERE id = 1")
    shop.run("COMMIT")
    shop.run("DELETE FROM orders WHERE id = 2")


def format_settings(form: str, registry: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the settings of Debezium and of the connector for a format."""
    if form == "avro":
        return avro(registry), {"format": "avro", "registry": registry}
    if form == "unwrapped":
        return {**plain(schemas=False), **AS_TEXT, **UNWRAP}, {"unwrapped": True}
    schemas = form == "json with its schema"
    return {**plain(schemas=schemas), **({} if schemas else AS_TEXT)}, {}


def expected(number: int, customer: str, state: str, note: str | None = "fine") -> dict[str, Any]:
    fields = {"id": str(number), "by": f"shop/{customer}", "amount": "9.90", "state": state, "any": "1.5"}
    return {**fields, "note": note} if note else fields


@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_give_same_events(source: Source, form: str) -> None:
    """Snapshot rows use `snapshot_map`; unsent values are missing; a deleted row has only its key."""
    for number in (1, 2):
        source.shop.run(INSERT, number, f"c{number}", "new", "fine")
    source.create()
    with schema_registry() as registry:
        theirs, ours = format_settings(form, registry)
        with source.engine("avro" if form == "avro" else "json", **theirs):
            source.wait(2)
            change_orders(source.shop)
            source.wait(8)
        events = [
            ("order.placed", expected(3, "c3", "new", None)),
            ("order.changed", expected(3, "c3", "paid", None)),
            ("order.changed", expected(1, "c1", "packed")),
            ("order.changed", expected(1, "c1", "sent")),
            ("order.deleted", {"id": "2", "by": "shop/2", "amount": "None", "before": '{"id": 2}'}),
        ]
        short = {"map": {**MAP, "attributes": {**ATTRIBUTES, "note": "length(after.note || '') < `100` && after.note || `null`"}}}
        connector = source.open(short, **ours)
        assert connector.check() == "1 of 1 topics, 1 partitions"
        assert describe_events(connector) == events
        snapshot = [("order.known", expected(number, f"c{number}", "new")) for number in (1, 2)]
        assert describe_events(source.open({**short, "snapshot_map": KNOWN}, **ours)) == [*snapshot, *events]
        keys = [(record.key, record.version) for record in read(connector)]
        assert len(set(keys)) == len(keys) == 5


def test_deleted_row_is_complete_with_replica_identity_full(source: Source) -> None:
    source.shop.run("ALTER TABLE orders REPLICA IDENTITY FULL")
    source.shop.run(INSERT, 1, "c1", "new", "fine")
    source.create()
    with source.engine(**plain(schemas=False), **AS_TEXT):
        source.wait(1)
        source.shop.run("UPDATE orders SET state = 'paid'")
        source.shop.run("DELETE FROM orders")
        source.wait(3)
    found = [record.data for record in read(source.open({"replica_identity": "full"}))][-2:]
    assert [each["before"]["state"] for each in found] == ["new", "paid"]
    assert found[1]["before"]["customer"] == "c1"
    connector = source.open({"map": {**MAP, "identifiers": {"erp_party": "id(after.customer)"}}})
    deleted = read(connector)[-1]
    assert deleted.is_deleted
    with pytest.raises(RecordError, match="REPLICA IDENTITY FULL"):
        connector.map_record(deleted)


def test_changes_that_debezium_repeats_after_kill_are_same_events(source: Source) -> None:
    """Debezium repeats changes if it is killed before it saves its offset, and its snapshot if the offset is lost.

    With `offset.flush.interval.ms` set to ten minutes, a process still saves its offset twice: after its first batch, and at its
    first poll without records. The test waits for both before it makes the changes that Debezium must repeat.
    """
    for number in (1, 2):
        source.shop.run(INSERT, number, f"c{number}", "new", "fine")
    source.create()
    settings = {**plain(schemas=False), **AS_TEXT}
    seldom = {**settings, "offset.flush.interval.ms": "600000"}
    with source.engine(**settings):
        source.wait(2)
        source.wait_until_saved(source.change(INSERT, 3, "c3", "new", "fine"))
        source.wait(3)
    with source.engine(**seldom):
        source.wait_until_saved(source.change(UPDATE, "paid", 3))
        source.wait_until_saved(source.change(UPDATE, "packed", 3))
        source.wait(5)
        source.change(UPDATE, "sent", 3)
        source.change(UPDATE, "delivered", 3)
        source.wait(7)
    connector = source.open({"snapshot_map": KNOWN})
    first = ids(connector)
    with source.engine(**seldom):
        source.wait(9)
    repeated = ids(connector)
    source.offsets.unlink()
    with source.engine(**settings):
        source.wait(12)
    snapshot = ids(connector)
    assert (len(first), first.total()) == (7, 7)
    assert repeated.keys() == first.keys()
    assert repeated.total() == 9
    assert len(snapshot.keys() - first.keys()) == 1, "the second snapshot contains order 3, which the first did not"
    assert snapshot.total() == 12


def ids(connector: Connector) -> Counter[UUID]:
    return Counter(connector.map_record(record).event_id for record in read(connector))


def test_kill_at_each_step_neither_loses_nor_repeats_changes(source: Source) -> None:
    source.create(partitions=3)
    source.shop.run(INSERT, 0, "c0", "new", "of the snapshot")
    with source.engine(**plain(schemas=False), **AS_TEXT):
        source.wait(1, partitions=3)
        source.shop.run(
            "INSERT INTO orders (id, customer, state, total) SELECT n, concat('c', n), 'new', 1 FROM generate_series(1, 3000) n"
        )
        source.wait(3_001, partitions=3)
    settings = source.settings(batch=100)
    kill_at_each_step(settings, source.kafka, "debezium")
    code, out, err = wait_for_exit(connect(settings, source.kafka, "--once", "--no-restart", connector="debezium"), 120)
    assert code == 0, out + err
    found = list(records(source.kafka, source_topic("erp"), source.name))
    assert {int(each["order_id"]) for each in found} == set(range(1, 3_001))
    assert len({each["event_id"] for each in found}) == 3_000
    totals = states(source.kafka, source.name)
    assert sorted(totals) == ["orders:0", "orders:1", "orders:2"]
    assert sum(state.published for state in totals.values()) == 3_000
    assert all(state.read == state.published for state in totals.values())


def test_order_in_database_moves_risk_of_customer(line: Line, source: Source) -> None:
    source.create()
    source.shop.run(INSERT, 1, "c1", "new", "of the snapshot")
    with source.engine(**plain(schemas=False), **AS_TEXT):
        source.wait(1)
        settings = source.settings({"system": "debezium"})
        with line.connect("debezium", settings):
            time.sleep(1)
            found = line.measure_lag(
                "debezium", "debezium", "an order is inserted", lambda: source.shop.run(INSERT, 2, "lag", "new", "fine")
            )
    assert 0 < found.touchpoint <= found.score
    assert json.loads(next(iter(states(source.kafka, source.name).values())).cursor)["offset"] == 2
