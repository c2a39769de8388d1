"""Refusal of a value that identifies no one."""

from typing import Literal, NamedTuple

RefusalReason = Literal["placeholder", "malformed", "exponent", "too_short", "too_long", "several_values"]


class RefusedIdentifier(NamedTuple):
    """Kind of a value that was refused, and the reason. Never the value: it may be personal data, and both are metric labels."""

    kind: str
    reason: RefusalReason


class RefusedError(Exception):
    """A value cannot become an identifier."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason: RefusalReason = reason
