"""`touchline identity` on a real worker and real sinks: merge by a touchpoint, split, the same evidence again, undo, join."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest

from deploy.identity.decisions import make_decision, send_decisions
from deploy.local.state import Stack
from schemas.errors import RetryableError
from schemas.records.identity import Action
from schemas.service.connection import KafkaSettings
from tests.harness.running_line import running_line, wait_until_stored
from tests.harness.sinks import ask, ask_value, except_columns
from tests.harness.stack import TOUCHLINE
from tests.harness.workers import make_order, publish_orders

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
HOUR = 3_600_000
KEPT = 64
START = 1_760_000_000_000


@pytest.fixture(scope="module")
def line(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """A worker that keeps 64 touchpoints per customer, and sinks. Yields the process of the worker."""
    os.environ["TOUCHLINE_STREAMS_KEPT_TOUCHPOINTS"] = str(KEPT)
    with running_line("identity", tmp_path_factory.mktemp("identity") / "log") as worker:
        yield psutil.Process(worker.pid)


class Person:
    """Identifiers of one test, unique to it: an ERP party and an e-mail address of Ann, a CRM contact and a phone of Bob."""

    def __init__(self) -> None:
        self.run = f"run{uuid4().hex[:8]}"
        self.number = 0
        digits = f"{int(self.run[3:], 16):010d}"
        self.party, self.email = ("erp_party", f"{self.run}/1"), ("email", f"ann@{self.run}.example.org")
        self.contact, self.phone = ("crm_contact", f"{self.run}/2"), ("phone", f"+4915{digits[:9]}")

    def send(self, *touchpoints: tuple[tuple[str, str], ...]) -> list[str]:
        """Publish touchpoints with these identifiers, wait until the sinks stored all results, and return the event ids."""
        orders = []
        for identifiers in touchpoints:
            self.number += 1
            order = make_order(self.number, self.run, 0, START + self.number * HOUR)
            orders.append({**order, "identifiers": [{"kind": kind, "value": value} for kind, value in identifiers]})
        publish_orders(orders)
        wait_until_stored()
        return [str(UUID(bytes=order["event_id"])) for order in orders]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "160"}
    return subprocess.run([TOUCHLINE, *arguments], capture_output=True, text=True, timeout=120, check=False, env=wide)


def run_json(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def name(identifier: tuple[str, str]) -> str:
    return ":".join(identifier)


def customer_of(identifier: tuple[str, str]) -> str:
    """Return the owner by the view that the commands also read. A query is ten times as fast as a command."""
    kind, value = identifier
    owner = "SELECT customer_id FROM touchline.identifiers WHERE kind = {kind:String} AND value = {value:String}"
    return str(ask_value(owner, {"kind": kind, "value": value}))


def count_touchpoints() -> dict[str, int]:
    """Return the touchpoints of each customer by the views, which `explain` also reads."""
    rows = ask("SELECT customer_id, count() AS touchpoints FROM touchline.touchpoints GROUP BY customer_id")
    return {str(row["customer_id"]): row["touchpoints"] for row in rows}


def read_rows(customer: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a customer in all views, without columns that depend on the run."""
    return {
        view: ask(
            f"SELECT *{except_columns(view)} FROM touchline.{view} WHERE customer_id = {{id:UUID}} ORDER BY ALL", {"id": customer}
        )
        for view in ("touchpoints", "journeys", "satisfaction", "churn", "signals")
    }


def test_split_holds_against_the_same_evidence_until_it_is_undone(line: psutil.Process) -> None:
    who = Person()
    first, second = who.send((who.party, who.email), (who.contact, who.phone))
    assert customer_of(who.email) != customer_of(who.phone)
    (both,) = who.send((who.email, who.phone))
    merged = customer_of(who.email)
    assert [customer_of(each) for each in (who.party, who.contact, who.phone)] == [merged] * 3
    assert count_touchpoints()[merged] == 3

    plan = run_json("identity", "split", name(who.phone), name(who.contact), "--reason", "two people", "--dry-run")
    assert {each["value"] for each in plan["leave"]["identifiers"]} == {who.phone[1], who.contact[1]}
    assert (plan["leave"]["touchpoints"], plan["stay"]["touchpoints"], plan["decision_id"]) == (1, 2, None)
    assert customer_of(who.phone) == merged

    split = run_json("identity", "split", name(who.phone), name(who.contact), "--reason", "two people", "--who", "eve")
    assert split["is_complete"]
    wait_until_stored()
    ann, bob = customer_of(who.email), customer_of(who.phone)
    assert ann != bob
    assert (customer_of(who.party), customer_of(who.contact)) == (ann, bob)
    assert {split["owners"][each["identifier_id"]] for each in plan["leave"]["identifiers"]} == {bob}
    assert (count_touchpoints()[ann], count_touchpoints()[bob]) == (2, 1)
    assert [touch["event_id"] for touch in run_json("explain", name(who.phone))["timeline"]] == [second]

    (again,) = who.send((who.email, who.phone))
    assert (customer_of(who.email), customer_of(who.phone)) == (ann, bob)
    assert [touch["event_id"] for touch in run_json("explain", name(who.email))["timeline"]] == [first, both, again]
    (new,) = who.send((who.party, who.phone))
    assert (customer_of(who.email), customer_of(who.phone)) == (ann, bob)
    assert [touch["event_id"] for touch in run_json("explain", name(who.email))["timeline"]] == [first, both, again, new]
    assert {each["reason"] for each in run_json("identity", "show", name(who.phone))["conflicts"]} == {"split"}
    refused = run("identity", "join", name(who.email), name(who.phone), "--reason", "one person")
    assert refused.returncode == 2
    assert f"identity undo {split['decision_id']}" in refused.stderr

    undone = run_json("identity", "undo", split["decision_id"][:8], "--reason", "one person", "--who", "eve")
    wait_until_stored()
    linked = run_json("identity", "show", name(who.phone))
    assert linked["customer_id"] == customer_of(who.email) == customer_of(who.party) == merged
    assert count_touchpoints()[merged] == 5
    decisions = [(each["action"], each["who"], each["reason"], each["undone_by"]) for each in linked["decisions"]]
    assert decisions == [("split", "eve", "two people", undone["decision_id"]), ("undo", "eve", "one person", None)]
    again_undone = run("identity", "undo", split["decision_id"], "--reason", "x")
    assert (again_undone.returncode, "took it back already" in again_undone.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_rows_after_split_and_rebuild_equal_those_before_the_merge(line: psutil.Process, *, is_rebuilt: bool) -> None:
    """The merged customer has more touchpoints than its state keeps, so the split alone cannot restore the rows."""
    who = Person()
    who.send(*[(who.party, who.email)] * 3 * KEPT, *[(who.contact, who.phone)] * 3 * KEPT)
    bob = customer_of(who.phone)
    before = read_rows(bob)
    who.send((who.email, who.phone))
    assert read_rows(customer_of(who.email)) != before
    options = ("--reason", "two people", *(("--rebuild",) if is_rebuilt else ()))
    done = run("identity", "split", name(who.phone), name(who.contact), *options)
    assert done.returncode == 0, done.stderr
    wait_until_stored()
    assert customer_of(who.phone) == bob
    if not is_rebuilt:
        command = f"rebuild --customer {bob}"
        assert command in done.stderr
        assert run(*command.split()).returncode == 0
        wait_until_stored()
    assert read_rows(bob) == before
    found = ask("SELECT is_complete FROM touchline.revisions WHERE customer_id = {id:UUID}", {"id": bob})
    assert found == [{"is_complete": 1}]


def test_join_links_customers_that_no_touchpoint_links(line: psutil.Process) -> None:
    who = Person()
    who.send((who.party, who.email), (who.contact, who.phone))
    joined = run_json("identity", "join", name(who.party), customer_of(who.phone), "--reason", "confirmed by phone")
    assert joined["is_complete"]
    wait_until_stored()
    assert len({customer_of(each) for each in (who.party, who.email, who.contact, who.phone)}) == 1
    assert count_touchpoints()[customer_of(who.phone)] == 2
    assert not run_json("identity", "show", name(who.phone))["conflicts"]
    run_json("identity", "undo", joined["decision_id"], "--reason", "mistake")
    wait_until_stored()
    assert customer_of(who.phone) != customer_of(who.email)


def test_evidence_counts_the_touchpoints_of_each_pair(line: psutil.Process) -> None:
    who = Person()
    events = who.send(*[(who.party, who.email)] * 3, (who.email, who.phone))
    found = {
        frozenset((pair["identifier"], pair["other"])): (pair["touchpoints"], pair["first_event_id"], pair["last_event_id"])
        for pair in run_json("identity", "show", name(who.email))["evidence"]
    }
    assert found == {
        frozenset((name(who.party), name(who.email))): (3, events[0], events[2]),
        frozenset((name(who.email), name(who.phone))): (1, events[3], events[3]),
    }


def test_decision_without_a_worker_is_stored_and_takes_effect_later(line: psutil.Process) -> None:
    who = Person()
    who.send((who.party, who.email))
    one, other = (UUID(each["identifier_id"]) for each in run_json("identity", "show", name(who.email))["identifiers"])
    decision = make_decision(Action.SPLIT, [one], [other], reason="two people", who="eve")
    line.suspend()
    try:
        with pytest.raises(RetryableError, match=r"no worker reads .*: start `touchline work`"):
            send_decisions(KafkaSettings(), [decision], wait_seconds=3)
    finally:
        line.resume()
    wait_until_stored()
    assert customer_of(who.party) != customer_of(who.email)


def test_decision_names_unknown_customers_and_wrong_arguments(line: psutil.Process) -> None:
    who = Person()
    who.send((who.party, who.email), (who.contact,))
    why = ("--reason", "two people")
    for arguments, text in (
        (("split", "zoe.weber@example.org", *why), "no customer has this identifier"),
        (("split", name(who.party), name(who.contact), *why), "more than one customer"),
        (("split", name(who.party), name(who.email), *why), "leave out those that stay"),
        (("split", name(who.email), "--reason", " "), "--reason needs 1 to 500 characters"),
        (("join", name(who.party), name(who.email), *why), "nothing to join"),
        (("undo", "zz", *why), "is no id of a decision"),
        (("undo", str(uuid4()), *why), "no decision has an id that starts with"),
    ):
        done = run("identity", *arguments)
        assert (done.returncode, done.stdout, text in done.stderr) == (2, "", True), done.stderr
