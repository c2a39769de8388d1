"""Records of the identity map, all on `touchline.identity`.

They are members, evidence, routes, conflicts, decisions of people, and the fingerprint of the secret.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from schemas.records.fields import Id, Instant


class Member(BaseModel):
    """Identifier and the customer that owns it now. Key: `n` + identifier id.

    `value` is the normalised identifier, empty once it is erased. A shared identifier is used by too many people: it links no
    touchpoints and owns only itself.
    """

    model_config = ConfigDict(frozen=True)

    identifier_id: Id
    kind: str
    value: str
    customer_id: Id
    is_shared: bool
    is_erased: bool
    rule: str
    event_id: Id
    at: Instant


class Evidence(BaseModel):
    """Identifiers that one touchpoint named together for the first time. Key: `e` + evidence id.

    `evidence_id` is a digest of the identifiers and of `verified`. `confidence` is between 0 and 1.
    """

    model_config = ConfigDict(frozen=True)

    evidence_id: Id
    identifier_ids: list[Id]
    kinds: list[str]
    rule: str
    confidence: float
    verified: bool
    event_id: Id
    at: Instant


class RouteException(BaseModel):
    """Owner of an identifier that differs from the target of its route."""

    model_config = ConfigDict(frozen=True)

    identifier_id: Id
    customer_id: Id


class Route(BaseModel):
    """Current owner of the touchpoints that were resolved to a customer id. Key: `c` + customer id.

    A touchpoint belongs to the owner of its first identifier that is not in `shared`: its entry in `exceptions`, or `current`.
    `touchline.resolved` carries the same record, with the customer id as key.
    """

    model_config = ConfigDict(frozen=True)

    customer_id: Id
    current: Id
    shared: list[Id]
    exceptions: list[RouteException]
    rule: str
    event_id: Id
    at: Instant


class ConflictReason(StrEnum):
    """Reason for which two identifiers of one touchpoint were not linked."""

    SHARED_VALUE = "shared_value"
    LIMIT = "limit"
    UNVERIFIED = "unverified"
    ANONYMOUS = "anonymous"
    SPLIT = "split"
    GROUP_FULL = "group_full"


class Conflict(BaseModel):
    """Two identifiers that were named together and not linked. Key: `x` + conflict id."""

    model_config = ConfigDict(frozen=True)

    conflict_id: Id
    reason: ConflictReason
    identifier_id: Id
    kind: str
    value: str
    other_id: Id
    other_kind: str
    other_value: str
    customer_id: Id
    other_customer: Id
    event_id: Id
    at: Instant


class Action(StrEnum):
    """Kind of a decision."""

    SPLIT = "split"
    JOIN = "join"
    UNDO = "undo"
    ERASE = "erase"
    REVIEW = "review"


class Decision(BaseModel):
    """Decision of a person on the identity map. Key: `d` + decision id.

    It enters on `touchline.identity-requests` and is published on `touchline.identity` after it took effect. A split keeps the
    identifiers of `left` and `right` apart, a join or a confirmed review links them. An undo names the decision it takes back in
    `undoes`. An erasure concerns the identifiers in `left`.
    """

    model_config = ConfigDict(frozen=True)

    decision_id: Id
    action: Action
    left: list[Id]
    right: list[Id]
    undoes: Id | None
    reason: str
    who: str
    confidence: float
    at: Instant


class Fingerprint(BaseModel):
    """Fingerprint of the secret that keys all ids of the identity map. Key: `f` + fingerprint.

    The first one in the log counts. Its key contains the fingerprint, because compaction would otherwise keep the last one.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
