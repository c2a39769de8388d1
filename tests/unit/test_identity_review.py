"""`touchline identity review`: records, the model on people with a known truth, proposals, questions and decisions."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from deploy.commands import identity as command
from deploy.identity.decisions import Outcome
from deploy.identity.review import run
from deploy.identity.review.model import MIN_RECORDS, Agreement, Match, find_matches
from deploy.identity.review.proposals import Proposal, choose, make_proposals, make_review
from deploy.identity.review.records import Record, choose_traits, to_rows
from schemas.errors import ConfigError
from schemas.records.identity import Action, Decision
from streams.identity.compound_keys import parse_keys
from tests.quality.customers import read_chain, run_chain
from tests.quality.febrl import load_febrl
from tests.quality.pairs import score
from tests.quality.review import apply, review

A, B, C = (UUID(int=number) for number in (1, 2, 3))
NAME = Agreement("surname", "equal", 7.5)


def make_record(customer: UUID, **traits: str) -> Record:
    return Record(customer, uuid4(), traits)


def make_proposal(probability: float = 0.99) -> Proposal:
    return Proposal(make_record(A, surname="Adler"), make_record(B, surname="[red]Adler"), probability, [NAME])


def test_review_finds_the_people_that_the_keys_missed() -> None:
    labelled = load_febrl(3, seed=1, persons=300)
    chain = run_chain(labelled, parse_keys("people"), seed=1)
    before = score(labelled, read_chain(chain))
    proposals = review(labelled, read_chain(chain))
    apply(chain, proposals)
    after = score(labelled, read_chain(chain))
    assert before.f1 < after.f1
    assert after.precision == 1
    assert after.f1 >= 0.995
    assert not chain.refused


def test_model_needs_enough_records_and_traits() -> None:
    few = [make_record(uuid4(), surname="Adler")] * (MIN_RECORDS - 1)
    with pytest.raises(ConfigError, match=f"at least {MIN_RECORDS}"):
        find_matches(*to_rows(few), 0.9)
    poor = [make_record(uuid4(), surname=f"Adler{number}") for number in range(MIN_RECORDS)]
    with pytest.raises(ConfigError, match="too few traits"):
        find_matches(*to_rows(poor), 0.9)


def test_traits_are_compared_in_their_normal_spelling() -> None:
    names, rows = to_rows([make_record(A, surname="M\u00fcller", birth_date="9.4.1956", city="n/a"), make_record(B, city="Bonn")])
    assert names == ["surname", "birth_date", "city"]
    assert [(row["unique_id"], row["surname"], row["birth_date"], row["city"]) for row in rows] == [
        (0, "muller", "19560409", None),
        (1, None, None, "bonn"),
    ]


def test_addresses_and_numbers_count_as_traits() -> None:
    identifiers = [("email", "a@example.org"), ("email", "b@example.org"), ("user_id", "shop/1")]
    assert choose_traits({"surname": "Adler", "segment": "gold", "city": ""}, identifiers) == {
        "surname": "Adler",
        "email": "a@example.org",
    }


def test_proposals_take_the_best_records_and_leave_out_what_follows() -> None:
    records = [make_record(A), make_record(B), make_record(C), make_record(A)]
    matches = [Match(0, 1, 0.9, []), Match(1, 3, 0.95, []), Match(1, 2, 0.99, []), Match(0, 2, 0.91, [])]
    found = make_proposals(records, matches)
    assert [(each.one.customer_id, each.other.customer_id, each.probability) for each in found] == [(B, C, 0.99), (A, B, 0.95)]
    assert found[1].one is records[3]
    assert choose(found, 0.96) == found[:1]


def test_customers_that_a_split_keeps_apart_are_not_proposed() -> None:
    records = [make_record(A), make_record(B)]
    assert make_proposals(records, [Match(0, 1, 0.9, [])], {frozenset((B, A))}) == []


def test_decision_names_both_customers_and_the_probability() -> None:
    decision = make_review(make_proposal(0.97), reason="review", who="eve")
    assert (decision.action, decision.left, decision.right) == (Action.REVIEW, [A], [B])
    assert (decision.confidence, decision.reason, decision.who) == (0.97, "review", "eve")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Decision]:
    found: list[Decision] = []

    def send(settings: Any, decisions: Sequence[Decision]) -> Outcome:
        found.extend(decisions)
        return Outcome(list(decisions), {}, [])

    monkeypatch.setattr(run, "find_proposals", lambda minimum: choose([make_proposal(), make_proposal(0.93)], minimum))
    monkeypatch.setattr(run, "send_decisions", send)
    monkeypatch.setattr(run, "require_topics", lambda settings: None)
    monkeypatch.setattr("deploy.services.name_services", lambda *_, **__: None)
    monkeypatch.setenv("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return found


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command.command, ["review", *arguments])


def test_pairs_are_listed_with_their_evidence_and_nothing_is_decided(sent: list[Decision]) -> None:
    done = call()
    assert done.exit_code == 0, done.output
    assert str(A) in done.output
    assert "[red]Adler" in done.output
    assert "+7.5" in done.output
    assert "2 pairs of customers may be one person." in done.output
    assert "1 pair of" in call("--minimum", "0.95").output
    assert "the first 1 are listed" in call("--limit", "1").output
    assert sent == []


def test_pairs_above_the_threshold_are_joined(sent: list[Decision]) -> None:
    done = call("--apply", "0.95", "--who", "eve")
    assert done.exit_code == 0, done.output
    assert [(each.left, each.right, each.who) for each in sent] == [([A], [B], "eve")]
    assert "1 pair decided" in done.output


def test_dry_run_decides_nothing(sent: list[Decision]) -> None:
    assert call("--apply", "0.5", "--dry-run").exit_code == 0
    assert sent == []


def test_json_has_one_object_per_pair(sent: list[Decision]) -> None:
    lines = [json.loads(line) for line in call("--json").stdout.splitlines()]
    assert [each["probability"] for each in lines] == [0.99, 0.93]
    assert lines[0]["customers"] == [str(A), str(B)]
    assert lines[0]["traits"][0] == {
        "trait": "surname", "one": "Adler", "other": "[red]Adler", "result": "equal", "weight": 7.5,
    }  # fmt: skip


@pytest.mark.parametrize(("answers", "count"), [("yy", 2), ("yn", 1), ("nq", 0), ("q", 0)])
def test_only_confirmed_pairs_are_chosen(answers: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = iter(answers)
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(waiting))
    proposals = [make_proposal(), make_proposal(0.93)]
    assert run.confirm(Console(quiet=True), proposals) == proposals[:count]
