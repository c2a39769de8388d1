"""A sample of `make quality`: the pure steps on people with a known truth."""

from streams.identity.compound_keys import parse_keys
from tests.quality.customers import read_chain, run_chain
from tests.quality.febrl import load_febrl
from tests.quality.histories import count_differences
from tests.quality.pairs import Score, score
from tests.quality.union import unite

PEOPLE = parse_keys("people")


def test_sample_of_febrl_is_joined_without_an_error() -> None:
    labelled = load_febrl(3, seed=1, persons=300)
    found = score(labelled, read_chain(run_chain(labelled, PEOPLE, seed=1)))
    assert found.true > 900
    assert found.precision == 1
    assert found.f1 >= 0.985


def test_every_febrl_dataset_is_joined_by_the_same_keys() -> None:
    for dataset, recall in ((1, 0.98), (2, 0.99), (3, 0.98), (4, 0.98)):
        labelled = load_febrl(dataset)
        found = score(labelled, unite(labelled, PEOPLE))
        assert found.precision == 1, dataset
        assert found.recall >= recall, dataset


def test_customers_and_their_ids_are_the_same_in_any_order() -> None:
    assert count_differences(histories=40, orders=3) == 0


def test_score_counts_pairs() -> None:
    assert Score(true=4, linked=2, correct=1)[:] == (4, 2, 1)
    assert (Score(4, 2, 1).precision, Score(4, 2, 1).recall) == (0.5, 0.25)
    labelled = load_febrl(3, persons=2)
    everyone = dict.fromkeys((each.event_id for each in labelled), b"one")
    found = score(labelled, everyone)
    assert found.recall == 1
    assert found.precision < 1
