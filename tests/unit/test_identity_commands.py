"""`touchline identity` with readers and a sequencer in memory: arguments, output and exit codes."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import click
import pytest
from click.testing import CliRunner, Result

from deploy.commands import identity as command
from deploy.commands import rebuild
from deploy.identity import decisions
from deploy.identity.decisions import Outcome
from deploy.identity.lookup import Lookup, parse_lookup
from deploy.identity.records import Identifier, Identity, Made, Unlinked
from schemas.errors import ConfigError, RetryableError
from schemas.records.identity import Decision, Member
from tests.harness.identity import AT, make_change, make_conflict, make_decision_row, make_identifier, make_identity

LONG = "social_handle:sim-mastodon/ann_adler1@social.example-with-a-long-domain.example"


class Map:
    """An identity map that applies each decision at once; `is_stubborn` refuses all of them."""

    def __init__(self) -> None:
        self.ann = make_identity("erp_party:sap/1", "email:ann@example.com", LONG)
        self.bob = make_identity("email:bob@example.com")
        self.made = make_decision_row("split", [self.ann.identifiers[0].identifier_id], [self.bob.identifiers[0].identifier_id])
        self.is_whole = True
        self.is_stubborn = False
        self.sent: list[Decision] = []

    def identity(self, lookup: Lookup) -> Identity:
        for each in (self.ann, self.bob):
            values = {identifier.value for identifier in each.identifiers}
            if lookup.id == each.customer_id or values & {candidate.value for candidate in lookup.candidates}:
                return each
        raise ConfigError("no customer has this identifier")

    def node(self, text: str) -> tuple[UUID, Identity]:
        identity = self.identity(parse_lookup(text))
        return identity.identifiers[0].identifier_id, identity

    def identity_of_all(self, texts: Sequence[str]) -> tuple[list[UUID], Identity]:
        values = {candidate.value for text in texts for candidate in parse_lookup(text).candidates}
        return [each.identifier_id for each in self.ann.identifiers if each.value in values], self.ann

    def identifiers(self, ids: Sequence[UUID]) -> list[Identifier]:
        return [each for one in (self.ann, self.bob) for each in one.identifiers if each.identifier_id in ids]

    def decision(self, prefix: str) -> Made:
        return self.made

    def conflicts(self, limit: int) -> tuple[list[Unlinked], int]:
        return [make_conflict(self.ann, LONG)] * min(limit, 3), 3

    def count_touchpoints(self, identity: Identity, leaving: Sequence[UUID]) -> tuple[int, int]:
        return 1_234, 7

    def is_complete(self, customer: UUID) -> bool:
        return self.is_whole

    def send(self, settings: Any, sent: Sequence[Decision], **options: Any) -> Outcome:
        self.sent += sent
        owner = {"split": uuid4(), "join": self.bob.customer_id}.get(sent[0].action)
        members = {} if owner is None or self.is_stubborn else {each: make_member(each, owner) for each in sent[0].left}
        return Outcome(list(sent), members, [])


def make_member(identifier: UUID, customer: UUID) -> Member:
    return Member(
        identifier_id=identifier, kind="email", value="x", customer_id=customer, is_shared=False, is_erased=False, rule="split",
        event_id=uuid4(), at=AT,
    )  # fmt: skip


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Map:
    found = Map()

    @contextmanager
    def reader(at: Any = None) -> Iterator[Map]:
        yield found

    monkeypatch.setattr(command, "identity_reader", reader)
    monkeypatch.setattr(command, "name_identity_services", lambda mode=None: None)
    monkeypatch.setattr("deploy.topics.require_topics", lambda settings: None)
    monkeypatch.setattr(decisions, "send_decisions", found.send)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.command, arguments)


SPLIT = ("split", "email:ann@example.com", "--reason", "two people", "--who", "eve")


def test_split_shows_both_sides_and_sends_the_decision(world: Map) -> None:
    done = run(*SPLIT)
    assert done.exit_code == 0, done.output
    assert re.search(r"leave +email:ann@example.com +1,234", done.output)
    assert re.search(r"stay +erp_party:sap/1 +7", done.output)
    (decision,) = world.sent
    assert (decision.action, decision.reason, decision.who) == ("split", "two people", "eve")
    assert decision.left == [world.ann.identifiers[1].identifier_id]
    assert len(decision.right) == 2
    assert f"identity undo {decision.decision_id}" in done.output
    assert "rebuild" not in done.output


def test_dry_run_decides_nothing(world: Map) -> None:
    for arguments in (
        SPLIT,
        ("join", "email:ann@example.com", "email:bob@example.com", "--reason", "one"),
        ("undo", "ab", "--reason", "x"),
    ):
        done = run(*arguments, "--dry-run")
        assert (done.exit_code, world.sent) == (0, [])
        assert "nothing was decided" in done.output
        assert json.loads(run(*arguments, "--dry-run", "--json").output)["decision_id"] is None


def test_incomplete_customer_gets_the_rebuild_of_each_side(world: Map) -> None:
    world.is_whole = False
    done = run(*SPLIT)
    customers = re.findall(r"rebuild --customer (\S+)", done.output)
    assert len(customers) == 2
    assert str(world.ann.customer_id) in customers


def test_rebuild_of_each_side_waits_for_the_sinks(world: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(world, "wait_until_stored", lambda owners: steps.append("stored"), raising=False)
    monkeypatch.setattr(rebuild.command, "callback", lambda **options: steps.append(options["customer"]))
    assert run(*SPLIT, "--rebuild").exit_code == 0
    assert steps == []
    world.is_whole = False
    assert run(*SPLIT, "--rebuild").exit_code == 0
    assert (steps[0], len(set(steps))) == ("stored", 3)
    assert str(world.ann.customer_id) in steps


def test_refused_decision_ends_with_code_1(world: Map) -> None:
    world.is_stubborn = True
    for arguments in (SPLIT, ("join", "email:ann@example.com", "email:bob@example.com", "--reason", "one")):
        done = run(*arguments)
        assert done.exit_code == 1
        assert "the sequencer" in done.output


def test_join_and_undo_send_their_decisions(world: Map) -> None:
    assert run("join", "email:ann@example.com", "email:bob@example.com", "--reason", "one person").exit_code == 0
    assert run("undo", str(world.made.decision_id)[:8], "--reason", "wrong").exit_code == 0
    assert [(each.action, each.undoes) for each in world.sent] == [("join", None), ("undo", world.made.decision_id)]


def test_json_of_a_decision_is_one_object(world: Map) -> None:
    found = json.loads(run(*SPLIT, "--json").output)
    assert found["decision_id"] == str(world.sent[0].decision_id)
    assert (found["leave"]["touchpoints"], found["stay"]["touchpoints"], found["is_complete"]) == (1_234, 7, True)
    assert set(found["owners"]) == {str(each.identifier_id) for each in world.ann.identifiers}


def test_who_is_the_user_by_default(world: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "grace")
    assert run("undo", "ab", "--reason", "wrong").exit_code == 0
    assert world.sent[0].who == "grace"


def test_decision_without_reason_is_a_usage_error(world: Map) -> None:
    assert run("split", "email:ann@example.com").exit_code == 2
    assert not world.sent


def test_delayed_sequencer_ends_with_the_next_step(world: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Outcome:
        raise RetryableError("start `touchline work`")

    monkeypatch.setattr(decisions, "send_decisions", fail)
    assert isinstance(run(*SPLIT).exception, RetryableError)


@pytest.mark.parametrize(
    "arguments",
    [("show", "email:ann@example.com"), SPLIT, ("conflicts", "--limit", "2"),
     ("join", "email:ann@example.com", "email:bob@example.com", "--reason", "one"), ("undo", "ab", "--reason", "x")],
)  # fmt: skip
def test_output_fits_80_columns_and_cuts_nothing(arguments: tuple[str, ...], world: Map) -> None:
    world.ann.changes.extend(make_change(each, uuid4(), world.ann.customer_id) for each in ("merge", "split"))
    world.ann.decisions.extend([make_decision_row("split"), make_decision_row("undo", undoes=world.made.decision_id)])
    world.ann.conflicts.append(make_conflict(world.ann, LONG))
    world.ann.identifiers.append(make_identifier("email", "info@example.com", world.ann.customer_id, is_shared=True))
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if not line.startswith(("Take it back", "Decision "))]
    assert max(map(len, lines)) <= 80
    assert "…" not in done.output


def test_show_prints_every_part(world: Map) -> None:
    world.ann.changes.append(make_change("merge", uuid4(), world.ann.customer_id))
    world.ann.decisions.append(world.made)
    world.ann.conflicts.append(make_conflict(world.ann, "phone:+49"))
    shown = run("show", "email:ann@example.com").output
    for text in (
        str(world.ann.customer_id),
        "ann@example.com",
        "Seen together",
        "Merges and splits",
        "one address of two people",
        "Not linked",
    ):
        assert text in shown
    found = json.loads(run("show", "email:ann@example.com", "--json").output)
    assert list(found) == ["customer_id", "identifiers", "evidence", "changes", "decisions", "conflicts"]
    assert found["evidence"][0]["touchpoints"] == 3


def test_conflicts_count_hidden_ones(world: Map) -> None:
    assert "2 of 3 conflicts; --limit hides 1 older ones" in run("conflicts", "--limit", "2").output
    assert len(run("conflicts", "--limit", "2", "--json").output.splitlines()) == 2


def test_each_help_ends_with_an_example() -> None:
    assert isinstance(command.command, click.Group)
    for name in command.command.commands:
        shown = run(name, "--help").output
        assert f"Example: touchline identity {name}" in shown
