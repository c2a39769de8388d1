"""Identifiers by which a source knows a customer, normalised to one spelling each (`normalisation/`).

An e-mail address and a phone number with its country code are global. Any other value belongs to the system that issued it and
begins with the name of that system, so that contact 42 of one CRM is never contact 42 of another. A loyalty number begins with
the name of its programme.
"""

from hashlib import blake2b
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from schemas.records.fields import Name, Word

GLOBAL_KINDS = frozenset({"email", "phone", "loyalty"})
ID_BYTES = 16
Raw = Annotated[str, StringConstraints(max_length=1_000)]


class Identifier(BaseModel):
    """One identifier of a customer: a kind (`email`, `phone`, `crm_contact`, `erp_party`, ...) and its normalised value.

    `raw` is the spelling of the source, None where it equals `value` without the name of its system. `rules` is the version of
    the normalisation, None for 1. With both, later rules can be applied to old records.
    """

    model_config = ConfigDict(frozen=True)

    kind: Name
    value: Word
    raw: Raw | None = None
    rules: int | None = None


def identifier_id(secret: bytes, kind: str, value: str) -> bytes:
    """Return the 16 bytes that identify an identifier everywhere, keyed by the secret of the installation.

    `kind` and `value` are those of `Identifier`, so the value is normalised and scoped.
    """
    return blake2b(f"{kind}\x1f{value}".encode(), key=secret, digest_size=ID_BYTES).digest()
