"""A sample of `make quality`: the pure steps on people with a known truth."""

from streams.identity.compound_keys import parse_keys
from tests.quality.adversarial import UNDECIDABLE, make_adversarial
from tests.quality.customers import read_chain, run_chain
from tests.quality.febrl import load_febrl
from tests.quality.histories import count_differences
from tests.quality.pairs import Score, confuse, count_strays, score
from tests.quality.union import unite

PEOPLE = parse_keys("people")


def test_sample_of_febrl_is_joined_without_an_error() -> None:
    labelled = load_febrl(3, seed=1, persons=300)
    found = score(labelled, read_chain(run_chain(labelled, PEOPLE, seed=1)))
    assert found.true > 900
    assert found.precision == 1
    assert found.f1 >= 0.985


def test_every_febrl_dataset_is_joined_by_the_same_keys() -> None:
    for dataset, recall in ((1, 0.98), (2, 0.98), (3, 0.98), (4, 0.98)):
        labelled = load_febrl(dataset)
        found = score(labelled, unite(labelled, PEOPLE))
        assert found.precision == 1, dataset
        assert found.recall >= recall, dataset


def test_customers_and_their_ids_are_the_same_in_any_order() -> None:
    assert count_differences(histories=40, orders=3) == 0


def test_adversarial_cases_join_no_two_people_and_miss_no_one() -> None:
    labelled = make_adversarial(seed=1, cases=3)
    customers = read_chain(run_chain(labelled, PEOPLE, seed=1))
    judged = [each for each in labelled if each.person]
    kinds = confuse(judged, customers)
    assert len(kinds) > 25
    assert {kind: each for kind, each in kinds.items() if each.missed} == {}
    assert {kind: each for kind, each in kinds.items() if each.false and not kind.endswith(UNDECIDABLE)} == {}
    assert count_strays(judged, customers) == 0


def test_reference_joins_the_adversarial_cases() -> None:
    labelled = make_adversarial(seed=1, cases=1)
    naive = confuse([each for each in labelled if each.person], unite(labelled, PEOPLE))
    expected = ("shared_tablet", "family_phone", "role_mailbox", "recycled_number", "mistyped_email", "namesakes", "keyless_web")
    assert [kind for kind in expected if naive[kind].false != naive[kind].judged] == []


def test_score_counts_pairs() -> None:
    half = Score(all=8, true=4, linked=2, correct=1)
    assert (half.precision, half.recall, half.false_share) == (0.5, 0.25, 0.25)
    labelled = load_febrl(3, persons=2)
    everyone = dict.fromkeys((each.event_id for each in labelled), b"one")
    found = score(labelled, everyone)
    assert found.recall == 1
    assert found.precision < 1
