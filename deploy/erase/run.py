"""Erasure of one person.

The order of the steps is the guarantee: the customer is hidden first, no deleted row comes back, and the proof row exists only
after everything was deleted.

1. Hide: insert one row per identifier into `touchline_store.erasures`. It holds keyed hashes only. The views hide
   the person's customer now. Until step 6, touchpoints of other customers may still name an identifier. Then delete the dead
   letters with the person's values, because step 2 removes these values from the table that a continued erasure reads.
2. Send the decision `erase` to the sequencer, twice, and wait until it took effect. `identify` now drops touchpoints that name
   one of these identifiers: at intake, in a replay and in a rebuild. Compound keys lose their value and link nothing from now on.
3. Wait until the workers' copies of the identity map have followed. Publish an empty `history` record for the customer and its
   former ids, and wait until the workers have read it. It is behind all records of the person on `touchline.resolved`, so the
   state of the person is empty for good.
4. Wait until the sinks have stored all records that were on their topics by then.
5. Publish the conflicts of the person again, without the value, so that the compacted topic keeps none. Do step 4 again.
6. Delete the rows from all tables (`stores.py`), touchpoints last, and wait until ClickHouse has rewritten their parts.
7. Rebuild other customers that had touchpoints with one of these identifiers.
8. Insert the proof row.

Each step can be repeated. An interrupted erasure leaves the customer hidden; the same command continues it.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from kafka import TopicPartition

from deploy.erase.conflicts import clear_conflict, publish_conflicts
from deploy.erase.person import Person
from deploy.erase.queries import ErasureStore, Proof
from deploy.erase.request import Request
from deploy.erase.spellings import Finder
from deploy.erase.stores import Erased
from deploy.identity.decisions import make_decision, send_decisions
from deploy.rebuild.cursor import Cursor
from deploy.rebuild.history import cut_parts
from deploy.rebuild.lag import Targets, Waiting, open_admin, read_ends, wait_until_read
from deploy.rebuild.publisher import open_publisher
from deploy.rebuild.queries import HistoryReader
from deploy.rebuild.run import Hooks, Rebuild
from deploy.rebuild.scope import Kind, Scope
from schemas.errors import FatalError
from schemas.records.dead_letter import SOFTWARE
from schemas.records.identity import Action
from schemas.service.connection import KafkaSettings
from schemas.wire.topics import RESOLVED
from sinks.clickhouse import ClickHouse
from sinks.contract import load_tables

COPY_SECONDS = 3.0
Show = Callable[[str], None]


class Plan(NamedTuple):
    """Everything that an erasure concerns: the person, its rows and their number by table, and other customers."""

    person: Person
    erased: Erased
    counts: dict[str, int]
    others: Sequence[UUID]


def make_plan(store: ErasureStore, person: Person) -> Plan:
    """Return the plan of an erasure. It changes nothing."""
    erased = Erased(person.ids, store.events(person, [*person.ids, *person.keys]), find_letters(store, person), person.keys)
    return Plan(person, erased, store.count(erased), store.other_customers(person.ids))


def find_letters(store: ErasureStore, person: Person) -> list[bytes]:
    """Return the dead letters with an identifier or id of the person, compound keys excepted."""
    finder = Finder([(each.kind, each.value) for each in person.identifiers if not each.is_key], person.ids)
    return store.dead_letters(finder, person.ids)


class Erasure:
    """The steps of this module for one plan."""

    def __init__(self, settings: KafkaSettings, client: ClickHouse, store: ErasureStore, show: Show) -> None:
        self._settings = settings
        self._client = client
        self._store = store
        self._show = show

    def run(self, plan: Plan, request: Request) -> tuple[UUID, dict[str, int]]:
        """Do all steps, and return the id of the proof row and the number of deleted rows by table."""
        person = plan.person
        self._show("hide the customer in all views")
        self._store.hide(person, request.reason, request.who, datetime.now(UTC))
        counts = self._delete(Erased((), (), find_letters(self._store, person)))
        self._show("erase the identifiers in the identity map")
        self._erase_identity(person, request)
        self._show("empty the state of the workers")
        self._empty_state(person)
        self._show("wait until the sinks have stored all records before this moment")
        self._wait_for_sinks()
        everything = [*person.ids, *person.keys]
        if conflicts := self._store.conflicts(everything):
            self._show("clear the values of conflicts")
            publish_conflicts(self._settings, (clear_conflict(each, everything) for each in conflicts))
            self._wait_for_sinks()
        counts.update(self._delete(self._find_rows(plan)))
        for customer in sorted({*plan.others, *self._store.other_customers(person.ids)}):
            self._show(f"rebuild customer {customer}, which had touchpoints with one of these identifiers")
            self._rebuild(customer)
        proof = Proof(person, datetime.now(UTC), request.reason, request.who, counts)
        return self._store.write_proof(proof, SOFTWARE), dict(counts)

    def _find_rows(self, plan: Plan) -> Erased:
        """Return the rows of the plan and those that the sinks have stored since then.

        Since step 2, a touchpoint that names only a compound key belongs to the customer of this key, so it is left alone.
        """
        person = plan.person
        events = sorted({*plan.erased.events, *self._store.events(person, person.ids_without_keys)})
        return Erased(person.ids, events, find_letters(self._store, person), person.keys)

    def _delete(self, erased: Erased) -> Counter[str]:
        """Delete the rows and return their number by table."""
        counts = Counter(self._store.count(erased))
        self._store.delete(erased, lambda table: self._show(f"delete rows of {table}"))
        return counts

    def _erase_identity(self, person: Person, request: Request) -> None:
        """Do step 2. Raises FatalError where the sequencer left an identifier alive.

        The repetition of the decision removes the identifiers from the rows of the sequencer, which keep their previous value.
        """
        ids = [UUID(bytes=each) for each in person.ids]
        decision = make_decision(Action.ERASE, ids, reason=request.reason, who=request.who)
        outcome = send_decisions(self._settings, [decision], report=self._show)
        send_decisions(self._settings, [decision], report=self._show)
        keys = person.keys
        if alive := [each for each in outcome.members.values() if not each.is_erased and each.identifier_id.bytes not in keys]:
            raise FatalError(
                f"the sequencer did not erase {len(alive)} identifiers: run `touchline dead-letters list`, then the same erasure"
            )

    def _empty_state(self, person: Person) -> None:
        """Do step 3."""
        from streams.engine.worker import GROUP  # late: it imports Faust

        time.sleep(COPY_SECONDS)
        customers = {person.customer_id, *self._store.former_customers([*person.ids, *person.keys])}
        with open_publisher(self._settings, 0) as publisher:
            for customer_id in sorted(customers):
                publisher.publish(customer_id, cut_parts(customer_id, [], keep_existing=False))
            publisher.flush()
            targets = {TopicPartition(RESOLVED, partition): offset + 1 for partition, offset in publisher.ends.items()}
        wait_until_read(self._settings, Waiting({GROUP: targets}, "touchline work"), "records read by the workers:")

    def _wait_for_sinks(self) -> None:
        """Do step 4."""
        with open_admin(self._settings) as admin:
            ends = {topic: read_ends(admin, topic) for topic in sorted({table.topic for table in load_tables().values()})}
        targets: dict[str, Targets] = {f"touchline-sink-{table.name}": ends[table.topic] for table in load_tables().values()}
        wait_until_read(self._settings, Waiting(targets, "touchline sink"), "records stored by the sinks:")

    def _rebuild(self, customer: UUID) -> None:
        """Do step 7 for one customer: its whole history replaces the kept touchpoints, too. It may be empty now."""
        scope = Scope(kind=Kind.CUSTOMER, value=str(customer))
        reader = HistoryReader(self._client, scope, 1)
        work = reader.work()
        with open_publisher(self._settings, 0) as publisher:
            if not work.large:
                publisher.publish(customer.bytes, cut_parts(customer.bytes, [], keep_existing=False))
            hooks = Hooks(lambda _cursor: None, lambda _count: None, lambda: False)
            Rebuild(reader, publisher, hooks, keep_existing=False).run(work, Cursor(scope=scope, servers="", began=0))
