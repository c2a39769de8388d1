"""Reference: touchpoints that share any value are one customer, in twenty lines of union-find, without limits or guards."""

from collections.abc import Sequence

from streams.identity.compound import CompoundKey, compile_keys
from tests.quality.labelled import Labelled


def unite(labelled: Sequence[Labelled], keys: Sequence[CompoundKey] = ()) -> dict[bytes, int]:
    """Return the customer of each event id, as the number of one of its touchpoints."""
    parent, read_compounds = list(range(len(labelled))), compile_keys(keys)

    def find(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, each in enumerate(labelled):
        exact = [(identifier["kind"], identifier["value"]) for identifier in each.fields["identifiers"]]
        for value in (*exact, *read_compounds(each.fields["traits"] or {})):
            parent[find(number)] = find(first.setdefault(value, number))
    return {each.event_id: find(number) for number, each in enumerate(labelled)}
