"""`touchline erase` on a real worker and real sinks: a person leaves all stores and does not come back."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from deploy.local.state import Stack
from schemas.errors import RecordError
from schemas.records.dead_letter import make_dead_letter
from schemas.wire.codec import encode, encode_model
from schemas.wire.topics import DEAD_LETTERS
from tests.harness.running_line import running_line, wait_until_stored
from tests.harness.sinks import ask, ask_value, end_sinks, except_columns, send, sink
from tests.harness.stack import TOUCHLINE
from tests.harness.waiting import eventually
from tests.harness.workers import ERP, make_order, publish_orders

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
HOUR = 3_600_000
START = 1_760_000_000_000
NAME = {"given_name": "Ann", "surname": "Meyer"}
BORN, LIVES = {**NAME, "birth_date": "1980-05-01"}, {**NAME, "postcode": "20095"}
KEYS = """
- {name: birth, fields: [given_name, surname, "birth_date:date"]}
- {name: place, fields: [given_name, surname, postcode]}
"""
VIEWS = ("touchpoints", "journeys", "satisfaction", "churn", "signals", "identifiers", "identity_evidence", "revisions")


@pytest.fixture(scope="module")
def line(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    os.environ["TOUCHLINE_IDENTITY_COMPOUND_KEYS"] = KEYS
    with running_line("erase", tmp_path_factory.mktemp("erase") / "log"):
        yield


class People:
    """Ann with an e-mail address, a party and a phone. Her namesakes: Bob with an address and a party, Carl with an address."""

    def __init__(self) -> None:
        self.run = f"run{uuid4().hex[:8]}"
        self.email, self.party = ("email", f"ann@{self.run}.example.org"), ("erp_party", f"{self.run}/4711")
        self.phone = ("phone", f"+4915{int(self.run[3:], 16):010d}"[:14])
        self.bob, self.carl = (("email", f"{name}@{self.run}.example.org") for name in ("bob", "carl"))
        self.bobs_party = ("erp_party", f"{self.run}/4712")
        self.sent: list[dict[str, Any]] = []

    def publish(self, *touchpoints: tuple[tuple[str, str], ...], traits: dict[str, str] | None = None) -> None:
        for identifiers in touchpoints:
            number = len(self.sent)
            order = make_order(number, self.run, 0, START + number * HOUR)
            self.sent.append(
                {
                    **order,
                    "type": "payment.failed",
                    "identifiers": [{"kind": kind, "value": value} for kind, value in identifiers],
                    "traits": traits,
                }
            )
        publish_orders(self.sent[-len(touchpoints) :])
        wait_until_stored()

    def publish_again(self) -> None:
        publish_orders(self.sent)
        wait_until_stored()

    def clear_values(self) -> list[str]:
        return [self.email[1], self.party[1], self.phone[1]]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "160"}
    return subprocess.run([TOUCHLINE, *arguments], capture_output=True, text=True, timeout=200, check=False, env=wide)


def customer_of(identifier: tuple[str, str]) -> str | None:
    sql = "SELECT customer_id FROM touchline.identifiers WHERE kind = {kind:String} AND value = {value:String}"
    found = ask(sql, {"kind": identifier[0], "value": identifier[1]})
    return str(found[0]["customer_id"]) if found else None


def count_by_view(customer: str) -> dict[str, int]:
    sql = "SELECT count() FROM touchline.{} WHERE customer_id = {{id:UUID}}"
    return {view: ask_value(sql.format(view), {"id": customer}) for view in VIEWS}


def rows_of(customer: str) -> dict[str, list[dict[str, Any]]]:
    sql = "SELECT *{} FROM touchline.{} WHERE customer_id = {{id:UUID}} ORDER BY ALL"
    return {view: ask(sql.format(except_columns(view), view), {"id": customer}) for view in VIEWS[:5]}


def count_touchpoints(system: str) -> dict[str, int]:
    """Return the stored touchpoints of a run by e-mail address or other first identifier, also hidden ones."""
    sql = (
        "SELECT identifier_values[1] AS value, count() AS count FROM touchline_store.touchpoints_by_event FINAL"
        " WHERE system = {run:String} GROUP BY value"
    )
    return {row["value"]: row["count"] for row in ask(sql, {"run": system})}


def count_dead_letters(value: str) -> int:
    """Return the dead letters that contain a value."""
    sql = "SELECT count() FROM touchline_store.dead_letters WHERE positionCaseInsensitive(payload, {value:String}) > 0"
    count: int = ask_value(sql, {"value": value})
    return count


def replay_dead_letter(who: People) -> None:
    """Replay a dead letter that is a new touchpoint of Ann."""
    identifiers = [{"kind": kind, "value": value} for kind, value in (who.email, who.phone)]
    order = {**make_order(100, who.run, 0), "identifiers": identifiers}
    error = RecordError("unknown_schema", "the worker was too old")
    letter = make_dead_letter(error, encode("erp", order), stage="identify", origin=f"{ERP}/0/0")
    place = {"topic": ERP, "partition": 0, "offset": 0, "replays": 0}
    send(DEAD_LETTERS, [(letter.letter_id.bytes, encode_model("dead_letter", letter.model_copy(update=place)))])
    eventually(lambda: count_dead_letters(who.email[1]) == 1)
    replayed = run("dead-letters", "replay", "--where", "reason = 'unknown_schema'")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    wait_until_stored()


def test_erased_person_leaves_all_stores_and_does_not_come_back(line: None) -> None:
    who = People()
    who.publish((who.email, who.party), (who.party, who.phone), (who.email,), traits={**BORN, **LIVES})
    who.publish((who.bob, who.bobs_party), (who.bob,), traits=BORN)
    send("touchline.crm", [(None, f'{{"mail": "{who.email[1].upper()}"}}'.encode())])
    eventually(lambda: count_dead_letters(who.email[1]) == 1)
    ann, bob = customer_of(who.email), customer_of(who.bob)
    assert ann is not None
    assert bob is not None
    assert ann == customer_of(who.phone) != bob
    assert ann == customer_of(("key:place", "ann|meyer|20095"))
    before, others = count_by_view(ann), rows_of(bob)
    assert before["touchpoints"] == 3
    assert min(before[view] for view in ("journeys", "satisfaction", "identifiers")) > 0

    plan = run("erase", who.email[1], "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert all(value in plan.stdout for value in (*who.clear_values(), "ann|meyer|20095"))
    assert count_by_view(ann) == before
    refused = run("erase", who.email[1], "--reason", "request 4711")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)

    done = run("erase", who.email[1], "--reason", "request 4711", "--who", "eve", "--yes")
    assert done.returncode == 0, done.stderr
    assert set(count_by_view(ann).values()) == {0}
    assert customer_of(who.email) is None
    assert ask_value("SELECT count() FROM touchline_store.members WHERE value LIKE '%20095'", {}) == 0
    assert rows_of(bob) == others
    assert count_touchpoints(who.run) == {who.bob[1]: 2}
    assert count_dead_letters(who.email[1]) == 0
    (proof,) = ask("SELECT * FROM touchline_store.erasure_proofs FINAL WHERE reason = 'request 4711'")
    assert (proof["who"], proof["identifiers"], proof["deleted"]["touchpoints_by_event"]) == ("eve", 3, 3)
    assert proof["deleted"]["dead_letters"] == 1
    assert not any(value in str(proof) for value in who.clear_values())

    verified = run("erase", "--verify", who.email[1])
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "topic touchline.erp" in verified.stdout
    assert "for ever: no retention.ms is set" in verified.stdout

    who.publish_again()
    who.publish((who.email, who.phone), (who.party,), traits=LIVES)
    who.publish((who.carl,), traits=LIVES)
    rebuilt = run("rebuild", "--all")
    assert rebuilt.returncode == 0, rebuilt.stderr
    wait_until_stored()
    assert set(count_by_view(ann).values()) == {0}
    assert [customer_of(each) for each in (who.email, who.party, who.phone)] == [None] * 3
    assert count_touchpoints(who.run) == {who.bob[1]: 2, who.carl[1]: 1}
    assert rows_of(bob) == others
    carl = customer_of(who.carl)
    assert carl not in (None, ann, bob)
    everyone = run("erase", "--verify")
    assert everyone.returncode == 0, everyone.stdout + everyone.stderr


def test_verify_reports_a_person_that_is_not_erased(line: None) -> None:
    who = People()
    who.publish((who.email, who.phone))
    found = run("erase", "--verify", who.email[1])
    assert found.returncode == 1
    assert "table touchpoints_by_event" in found.stdout
    assert "table members" in found.stdout
    assert "topic touchline.identity" in found.stdout
    assert "must go: run `" in found.stdout


def test_identifier_can_be_erased_before_its_first_touchpoint(line: None) -> None:
    who = People()
    done = run("erase", who.email[1], "--reason", "objection", "--yes")
    assert done.returncode == 0, done.stderr
    who.publish((who.email,), (who.bob,))
    assert customer_of(who.email) is None
    assert count_touchpoints(who.run) == {who.bob[1]: 1}


def test_shared_identifier_belongs_to_no_person_and_is_not_erased(line: None) -> None:
    who = People()
    strangers = [("email", f"person{number}@{who.run}.example.org") for number in range(12)]
    who.publish(*[(each, who.phone) for each in strangers])
    refused = run("erase", f"phone:{who.phone[1]}", "--reason", "x", "--yes")
    assert (refused.returncode, "many people share this identifier" in refused.stderr) == (2, True), refused.stderr
    assert count_touchpoints(who.run) == {each[1]: 1 for each in strangers}


@pytest.mark.slow
def test_erasure_without_a_sink_hides_the_person_and_can_be_continued(line: None) -> None:
    who = People()
    who.publish((who.email, who.party))
    ann = customer_of(who.email)
    assert ann is not None
    send("touchline.crm", [(None, f'{{"party": "{who.party[1]}"}}'.encode())])
    eventually(lambda: count_dead_letters(who.party[1]) == 1)
    end_sinks()
    env = {**os.environ, "TOUCHLINE_WAIT_SECONDS": "3"}
    command = [str(TOUCHLINE), "erase", who.email[1], "--reason", "request 4712", "--yes"]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert (failed.returncode, "touchline sink" in failed.stderr) == (1, True), failed.stderr
    assert set(count_by_view(ann).values()) == {0}
    assert count_touchpoints(who.run) == {who.email[1]: 1}
    assert count_dead_letters(who.party[1]) == 0, "a continued erasure does not know this value"
    sink()
    replay_dead_letter(who)
    assert set(count_by_view(ann).values()) == {0}
    assert count_touchpoints(who.run) == {who.email[1]: 1}
    done = run("erase", who.email[1], "--reason", "request 4712", "--yes")
    assert done.returncode == 0, done.stderr
    assert count_touchpoints(who.run) == {}
    assert count_dead_letters(who.email[1]) == 0
    (proof,) = ask("SELECT identifiers, deleted FROM touchline_store.erasure_proofs FINAL WHERE reason = 'request 4712'")
    assert (proof["identifiers"], proof["deleted"]["touchpoints_by_event"]) == (2, 1)
