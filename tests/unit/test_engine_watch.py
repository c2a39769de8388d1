"""When something counts as stuck, without a broker."""

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.watchdog import Place, Standing, standings

A, B = Place("join", "touchline.resolved", 3), Place("join", "touchline.resolved", 4)
LOOKS = st.lists(st.dictionaries(st.sampled_from([A, B]), st.integers(0, 2)), max_size=40)


@given(LOOKS)
def test_what_counts_is_how_often_in_a_row_a_place_was_seen_at_the_same_offset(looks: list[dict[Place, int]]) -> None:
    found: dict[Place, Standing] = {}
    for marks in looks:
        found = standings(found, marks)
    assert set(found) == set(looks[-1] if looks else {})
    for place, standing in found.items():
        seen = [marks.get(place) for marks in reversed(looks)]
        in_a_row = next((index for index, mark in enumerate(seen) if mark != standing.mark), len(seen))
        assert standing.looks == in_a_row - 1


def test_a_look_without_an_answer_from_kafka_begins_the_count_anew() -> None:
    found: dict[Place, Standing] = {}
    for marks in ({A: 7}, {A: 7}, {A: 7}, {}, {A: 7}, {A: 7}):
        found = standings(found, marks)
    assert found == {A: Standing(7, looks=1)}
