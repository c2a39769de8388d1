"""A real Debezium 3.6 on a real PostgreSQL: each of its forms, deletes, snapshots, kills of both sides, lag."""

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
from tests.harness.connectors import connect, finished, killed_at_each_step, records, states
from tests.harness.waiting import eventually
from tests.live.databases import Server, Session, postgresql
from tests.live.debezium.engine import UNWRAP, avro, debezium, plain, schema_registry
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE = 180
AS_TEXT = {"decimal.handling.mode": "string"}
FORMS = ("json", "json with its schema", "unwrapped", "avro")
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


class Source:
    """A database, the topic that Debezium writes its orders to, and the settings of a connector that reads them."""

    def __init__(self, server: Server, shop: Session, kafka: KafkaSettings, folder: Path) -> None:
        self.server, self.shop, self.kafka, self.folder = server, shop, kafka, folder
        self.name = f"dbz-{uuid4().hex[:12]}"
        self.topic = f"{self.name}.public.orders"
        self._stack = ExitStack()

    def make(self, partitions: int = 1) -> None:
        with closing(KafkaAdminClient(**self.kafka.kafka_python())) as admin:
            given = {"num_partitions": partitions, "replication_factor": 1}
            admin.create_topics({self.topic: given}, wait_for_metadata=True)

    @contextmanager
    def engine(self, form: str = "json", **given: str) -> Iterator["subprocess.Popen[bytes]"]:
        with debezium(self.server, self.kafka.bootstrap_servers, self.folder, self.name, form, **given) as running:
            yield running

    def held(self, partitions: int = 1) -> int:
        with closing(KafkaConsumer(**self.kafka.kafka_python())) as consumer:
            return sum(consumer.end_offsets([TopicPartition(self.topic, number) for number in range(partitions)]).values())

    def wait(self, count: int, partitions: int = 1) -> None:
        eventually(lambda: self.held(partitions) >= count, PATIENCE)

    def settings(self, topic: dict[str, Any] | None = None, **given: Any) -> Path:
        orders = {"topic": self.topic, "source": "erp", "system": "shop", "map": MAP, **(topic or {})}
        path = self.folder / "settings.yaml"
        where = {"name": self.name, "bootstrap_servers": self.kafka.bootstrap_servers, "poll_seconds": 0.2}
        path.write_text(yaml.safe_dump({**where, "topics": {"orders": orders}, **given}))
        return path

    def opened(self, topic: dict[str, Any] | None = None, **given: Any) -> Connector:
        found = open_connector("debezium", self.settings(topic, **given), {})
        assert isinstance(found, Connector)
        self._stack.callback(found.close)
        return found

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """In a folder outside pytest's, which each run makes root's alone again: the server runs as nobody."""
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


def told(connector: Connector) -> list[tuple[str, dict[str, Any]]]:
    """Type and what else was said, in the order of the topic."""
    found = [connector.map_record(record) for record in read(connector)]
    return [
        (each.type, {"id": each.order_id, "by": each.identifiers[0].value, "amount": str(each.amount), **each.attributes})  # type: ignore[attr-defined]
        for each in found
    ]


def happen(shop: Session) -> None:
    """What an order can go through: a long text that an update leaves alone, two updates in one transaction, a delete."""
    shop.run("ALTER TABLE orders ALTER note SET STORAGE EXTERNAL")
    shop.run(INSERT, 3, "c3", "new", "long" * 5_000)
    shop.run("UPDATE orders SET state = 'paid' WHERE id = 3")
    shop.run("BEGIN")
    shop.run("UPDATE orders SET state = 'packed' WHERE id = 1")
    shop.run("UPDATE orders SET state = 'sent' WHERE id = 1")
    shop.run("COMMIT")
    shop.run("DELETE FROM orders WHERE id = 2")


def given(form: str, registry: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The settings of Debezium and of the connector."""
    if form == "avro":
        return avro(registry), {"format": "avro", "registry": registry}
    if form == "unwrapped":
        return {**plain(schemas=False), **AS_TEXT, **UNWRAP}, {"unwrapped": True}
    schemas = form == "json with its schema"
    return {**plain(schemas=schemas), **({} if schemas else AS_TEXT)}, {}


def said(number: int, customer: str, state: str, note: str | None = "fine") -> dict[str, Any]:
    found = {"id": str(number), "by": f"shop/{customer}", "amount": "9.90", "state": state, "any": "1.5"}
    return {**found, "note": note} if note else found


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_tell_the_same(source: Source, form: str) -> None:
    """Snapshot rows are known, not placed; what an update did not send is left out; of a deleted row there is its key."""
    for number in (1, 2):
        source.shop.run(INSERT, number, f"c{number}", "new", "fine")
    source.make()
    with schema_registry() as registry:
        theirs, ours = given(form, registry)
        with source.engine("avro" if form == "avro" else "json", **theirs):
            source.wait(2)
            happen(source.shop)
            source.wait(8)
        events = [
            ("order.placed", said(3, "c3", "new", None)),
            ("order.changed", said(3, "c3", "paid", None)),
            ("order.changed", said(1, "c1", "packed")),
            ("order.changed", said(1, "c1", "sent")),
            ("order.deleted", {"id": "2", "by": "shop/2", "amount": "None", "before": '{"id": 2}'}),
        ]
        short = {"map": {**MAP, "attributes": {**ATTRIBUTES, "note": "length(after.note || '') < `100` && after.note || `null`"}}}
        connector = source.opened(short, **ours)
        assert connector.check() == "1 of 1 topics, 1 partitions"
        assert told(connector) == events
        known = [("order.known", said(number, f"c{number}", "new")) for number in (1, 2)]
        assert told(source.opened({**short, "snapshot_map": KNOWN}, **ours)) == [*known, *events]
        keys = [(record.key, record.version) for record in read(connector)]
        assert len(set(keys)) == len(keys) == 5


def test_of_a_deleted_row_all_is_told_where_the_table_has_its_identity_full(source: Source) -> None:
    source.shop.run("ALTER TABLE orders REPLICA IDENTITY FULL")
    source.shop.run(INSERT, 1, "c1", "new", "fine")
    source.make()
    with source.engine(**plain(schemas=False), **AS_TEXT):
        source.wait(1)
        source.shop.run("UPDATE orders SET state = 'paid'")
        source.shop.run("DELETE FROM orders")
        source.wait(3)
    found = [record.data for record in read(source.opened({"replica_identity": "full"}))][-2:]
    assert [each["before"]["state"] for each in found] == ["new", "paid"]
    assert found[1]["before"]["customer"] == "c1"
    connector = source.opened({"map": {**MAP, "identifiers": {"erp_party": "id(after.customer)"}}})
    deleted = read(connector)[-1]
    assert deleted.is_deleted
    with pytest.raises(RecordError, match="REPLICA IDENTITY FULL"):
        connector.map_record(deleted)


def test_what_debezium_tells_again_after_it_was_killed_is_the_same_event(source: Source) -> None:
    """Killed before it had saved its place it sends the changes again; its place lost, it takes its snapshot again."""
    for number in (1, 2):
        source.shop.run(INSERT, number, f"c{number}", "new", "fine")
    source.make()
    settings = {**plain(schemas=False), **AS_TEXT}
    forgetful = {**settings, "offset.flush.interval.ms": "600000"}
    with source.engine(**settings):
        source.wait(2)
        source.shop.run(INSERT, 3, "c3", "new", "fine")
        source.wait(3)
    with source.engine(**forgetful):
        source.shop.run("UPDATE orders SET state = 'paid' WHERE id = 3")
        source.wait(4)  # the first batch of a process is always saved
        source.shop.run("UPDATE orders SET state = 'packed' WHERE id = 3")
        source.shop.run("UPDATE orders SET state = 'sent' WHERE id = 3")
        source.wait(6)
    connector = source.opened({"snapshot_map": KNOWN})
    once = ids(connector)
    with source.engine(**forgetful):
        source.wait(8)
    again = ids(connector)
    (source.folder / f"{source.name}.offsets").unlink()
    with source.engine(**settings):
        source.wait(11)
    anew = ids(connector)
    assert (len(once), once.total()) == (6, 6)
    assert again.keys() == once.keys()
    assert again.total() == 8
    assert len(anew.keys() - once.keys()) == 1, "the second snapshot meets order 3, which the first did not"
    assert anew.total() == 11


def ids(connector: Connector) -> Counter[UUID]:
    return Counter(connector.map_record(record).event_id for record in read(connector))


def test_killed_at_each_step_nothing_is_lost_or_told_twice(source: Source) -> None:
    source.make(partitions=3)
    source.shop.run(INSERT, 0, "c0", "new", "of the snapshot")
    with source.engine(**plain(schemas=False), **AS_TEXT):
        source.wait(1, partitions=3)
        source.shop.run(
            "INSERT INTO orders (id, customer, state, total) SELECT n, concat('c', n), 'new', 1 FROM generate_series(1, 3000) n"
        )
        source.wait(3_001, partitions=3)
    settings = source.settings(batch=100)
    killed_at_each_step(settings, source.kafka, "debezium")
    code, out, err = finished(connect(settings, source.kafka, "--once", "--no-restart", connector="debezium"), 120)
    assert code == 0, out + err
    found = list(records(source.kafka, source_topic("erp"), source.name))
    assert {int(each["order_id"]) for each in found} == set(range(1, 3_001))
    assert len({each["event_id"] for each in found}) == 3_000
    totals = states(source.kafka, source.name)
    assert sorted(totals) == ["orders:0", "orders:1", "orders:2"]
    assert sum(state.published for state in totals.values()) == 3_000
    assert all(state.read == state.published for state in totals.values())


def test_an_order_in_a_database_moves_the_risk_of_its_customer(line: Line, source: Source) -> None:
    source.make()
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
