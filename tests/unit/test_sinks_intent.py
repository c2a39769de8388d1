"""The intent in the commit metadata: round trip, and one token for one block and version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from sinks.contract import load_tables
from sinks.intent import Intent, make_part_token

TABLE = load_tables()["touchpoints"]
WORDS = st.text("0123456789abcdef", min_size=1, max_size=16)
SPANS = st.tuples(st.integers(0, 2**62), st.integers(1, 50_000)).map(lambda span: (span[0], span[0] + span[1]))
INTENTS = st.builds(Intent, WORDS, WORDS, st.dictionaries(st.integers(0, 10_000), SPANS, min_size=1, max_size=80))


@given(INTENTS)
def test_intent_survives_a_round_trip_and_fits_into_the_metadata(intent: Intent) -> None:
    """Kafka accepts 4,096 bytes (`offset.metadata.max.bytes`)."""
    again = Intent.read(str(intent))
    assert again == intent
    assert again.token(TABLE) == intent.token(TABLE)
    assert len(str(intent)) <= 4_096


@given(INTENTS, INTENTS)
def test_intents_share_a_token_only_for_the_same_block_and_identity(one: Intent, other: Intent) -> None:
    same = (one.identity, one.ranges) == (other.identity, other.ranges)
    assert (one.token(TABLE) == other.token(TABLE)) == same


def test_token_belongs_to_one_table_and_version() -> None:
    intent = Intent("made-by", "1f", {3: (40, 44), 0: (7, 9)})
    assert intent.token(TABLE) == f"touchpoints|touchline.resolved|{TABLE.version}|1f|0:7-9,3:40-44"
    assert intent.token(TABLE._replace(version="other")) != intent.token(TABLE)
    assert intent.token(TABLE._replace(name="other")) != intent.token(TABLE)


@pytest.mark.parametrize("metadata", ["2 a b 0:1-2", "1 a b", "1 a b 0:1-2,", "1 a b 0:-1-2", "consumed by hand"])
def test_foreign_commit_metadata_is_refused(metadata: str) -> None:
    with pytest.raises(ConfigError, match="start the version that wrote them, or reset the offsets of the group"):
        Intent.read(metadata)


def test_parts_of_a_block_have_tokens_by_the_positions_of_their_records() -> None:
    rows = [("a", 0, 7), ("b", 0, 8), ("c", 3, 40), ("d", 3, 43)]
    found = [
        make_part_token("whole", rows[:2]),
        make_part_token("whole", rows[2:]),
        make_part_token("whole", rows[:1]),
        make_part_token("another", rows[:2]),
    ]
    assert found == ["whole|0:7..0:8", "whole|3:40..3:43", "whole|0:7..0:7", "another|0:7..0:8"]
