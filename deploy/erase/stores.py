"""Tables of `touchline_store` that hold rows of a person, and the condition of these rows. Pure.

A table of this database is in one of three lists: rows to delete, keyed ids only, or no data of a person. A test compares the
lists with the migrations.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from streams.identity.compound import KIND_PREFIX

MAX_IDS_PER_STATEMENT = 4_000


class By(Enum):
    """Way to recognise the rows of a person."""

    EVENT = "event_id"
    EVENT_UUID = "UUIDToNum(event_id)"
    CUSTOMER = "customer_id"
    MEMBER = "identifier_id"
    CONFLICT = "(identifier_id, other_id)"
    DEAD_LETTER = "letter_id"


# In the order of deletion. `members` is behind the dead letters, which only its values find. `touchpoints_by_event` is last, so
# that an interrupted erasure finds the touchpoints again.
DELETED = {
    "dead_letters": By.DEAD_LETTER,
    "members": By.MEMBER,
    "conflicts": By.CONFLICT,
    "journeys": By.CUSTOMER,
    "journeys_by_customer": By.CUSTOMER,
    "satisfaction": By.CUSTOMER,
    "satisfaction_by_customer": By.CUSTOMER,
    "churn": By.CUSTOMER,
    "churn_by_customer": By.CUSTOMER,
    "signals": By.CUSTOMER,
    "signals_by_customer": By.CUSTOMER,
    "segments": By.CUSTOMER,
    "segments_by_resolution": By.CUSTOMER,
    "answers": By.EVENT,
    "touchpoints_of_customers": By.EVENT,
    "touchpoints_by_day": By.EVENT_UUID,
    "changes_by_day": By.EVENT_UUID,
    "touchpoints": By.EVENT,
    "touchpoints_by_event": By.EVENT,
}
KEYED_IDS_ONLY = frozenset(
    {"decisions", "erasures", "erasure_proofs", "evidence", "member_owners", "resolutions", "revisions", "routes"}
)
# A sink that reads its topic again stores these rows again, without the values.
CLEARED = frozenset({"conflicts", "members"})
NO_PERSON = frozenset({"connector_state", "migrations", "replays"})


class Erased(NamedTuple):
    """Everything that the rows of a person name: keyed ids, touchpoints, dead letters, compound keys. All are 16 bytes."""

    ids: Sequence[bytes]
    events: Sequence[bytes]
    letters: Sequence[bytes]
    keys: Sequence[bytes] = ()


def make_conditions(by: By, erased: Erased) -> Iterator[str]:
    """Yield conditions that together match the rows of a person, each short enough for one statement."""
    if by in (By.EVENT, By.EVENT_UUID):
        values = erased.events
    elif by is By.DEAD_LETTER:
        values = erased.letters
    else:
        values = [*erased.ids, *erased.keys]
    for listed in list_chunks(values):
        if by is By.MEMBER:
            # The newest row of a compound key may belong to a namesake.
            own = f"identifier_id IN ({listed}) AND NOT startsWith(kind, '{KIND_PREFIX}')"
            yield f"({own} OR customer_id IN ({listed})) AND value != ''"
        elif by is By.CONFLICT:
            yield f"identifier_id IN ({listed}) OR other_id IN ({listed})"
        else:
            yield f"{by.value} IN ({listed})"


def names_any(column: str, ids: Sequence[bytes]) -> str:
    """Return the condition that an array of keyed ids has one of `ids`."""
    return f"hasAny({column}, [{list_ids(ids)}])"


def list_chunks(values: Sequence[bytes]) -> Iterator[str]:
    """Yield ids as `list_ids` does, in chunks that fit into one statement."""
    return (list_ids(values[start : start + MAX_IDS_PER_STATEMENT]) for start in range(0, len(values), MAX_IDS_PER_STATEMENT))


def list_ids(values: Sequence[bytes]) -> str:
    """Return ids as SQL literals, separated by commas."""
    return ", ".join(f"toFixedString(unhex('{each.hex()}'), 16)" for each in values)
