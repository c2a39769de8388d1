"""People whose identifiers meet over several files, one new family per file, and the decisions on each family.

Each identifier of a family begins as a customer of its own. Later files name two of them together, so that customers merge, also
repeatedly. A desk address and a tablet belong to several families: the address becomes shared, the tablet follows no one.
"""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.records.identity import Action
from tests.crash.identity import Decision, Identifier

NAMES_OF_AGE: tuple[tuple[str, ...], ...] = (
    ("first", "second", "third", "party", "phone", "device"),
    ("first+phone", "second+device", "desk+party", "third"),
    ("second+phone", "first+tablet", "third", "device"),
    ("first+party", "device", "second", "desk"),
    ("second+phone", "second+device", "desk+party", "third", "first", "phone"),
)
"""The touchpoints of a family by the number of files since its first one."""
FAMILIES_PER_DESK = 8
DECISIONS: tuple[tuple[Action, ...], ...] = (
    (Action.SPLIT,), (Action.JOIN,), (Action.SPLIT, Action.UNDO), (Action.JOIN, Action.UNDO), (),
)  # fmt: skip


class Names(NamedTuple):
    """The columns of a line that name its customer."""

    mail: str = ""
    party: str = ""
    phone: str = ""
    device: str = ""


def mail_of(family: int, which: str = "first") -> str:
    """Return one of the addresses of a family."""
    return f"{which}{family}@example.org"


def touchpoints_of(file: int) -> Iterator[Names]:
    """Yield the touchpoints of all families that a file mentions."""
    for age, texts in enumerate(NAMES_OF_AGE[: file + 1]):
        for text in texts:
            yield _name(file - age, text.split("+"))


def _name(family: int, parts: list[str]) -> Names:
    group = family // FAMILIES_PER_DESK
    columns = {
        **{which: ("mail", mail_of(family, which)) for which in ("first", "second", "third")},
        "desk": ("mail", mail_of(group, "desk")),
        "party": ("party", f"f{family}"),
        "phone": ("phone", f"+49302{family:06}"),
        "device": ("device", f"d{family}"),
        "tablet": ("device", f"t{group}"),
    }
    return Names(**dict(columns[part] for part in parts))


def decide(family: int) -> tuple[Decision, bool] | None:
    """Return the decision on a family, and whether it is undone afterwards."""
    actions = DECISIONS[family % len(DECISIONS)]
    if not actions:
        return None
    first, second, third = (("email", mail_of(family, which)) for which in ("first", "second", "third"))
    others: tuple[Identifier, ...] = (first, ("phone", f"+49302{family:06}"), ("erp_party", f"shop/f{family}"))
    sides = ((second,), others) if actions[0] is Action.SPLIT else ((first,), (third,))
    return Decision(actions[0], *sides), Action.UNDO in actions
