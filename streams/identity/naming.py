"""Nodes of a touchpoint: its identifiers and compound keys as keyed ids, the strongest first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from schemas.records.identifiers import identifier_id
from schemas.wire.codec import Fields
from streams.identity.compound import CompoundKey, cache_compound_values
from streams.identity.rows import EVIDENCE, NODE, NODE_ID_BYTES
from streams.identity.rules import Rules, scope_of
from streams.identity.settings import IdentitySettings

MAX_CACHED = 30_000  # about 1 kB each
FINGERPRINT_BYTES = 4
UNVERIFIED, VERIFIED = b"\x00", b"\x01"
EXACT_RULE, COMPOUND_RULE = "exact-identifier", "compound-key"
Pairs = tuple[tuple[str, str], ...]
Compounds = Callable[[Mapping[str, str]], Iterable[tuple[str, str]]]


class Named(NamedTuple):
    """Nodes of one touchpoint.

    - `nodes`: ids by rank, with `kinds` and `values`. An unverified touchpoint counts for its strongest identifier and for the
      weak ones; `ignored` holds its other identifiers.
    - `evidence_id`: digest of all nodes, empty for a single one.
    - `confidence`: that of the weakest compound key, 1 without one.
    - `has_distinct_scopes`: no limit concerns the touchpoint, because it names at most one strong identifier of each kind.
    - `keys` and `evidence_key`: row keys of the nodes and of the evidence.
    """

    nodes: tuple[bytes, ...]
    kinds: tuple[str, ...]
    values: tuple[str, ...]
    ignored: tuple[bytes, ...]
    evidence_id: bytes
    rule: str
    confidence: float
    has_distinct_scopes: bool
    keys: tuple[bytes, ...]
    evidence_key: bytes


class Naming:
    """Nodes of touchpoints under the installation's secret. Recent answers come from memory. `fingerprint` identifies the secret.

    `compounds` returns the kinds and values of the compound keys of a touchpoint's traits; `confidences` are those of the kinds.
    """

    def __init__(
        self, secret: bytes, rules: Rules, compounds: Compounds | None = None, confidences: Mapping[str, float] | None = None
    ) -> None:
        self._secret = secret
        self.fingerprint = blake2b(secret, person=b"check").digest()[:FINGERPRINT_BYTES]
        self.rules = rules
        self._compounds = compounds
        self._confidences = confidences or {}
        self._named = lru_cache(maxsize=MAX_CACHED)(self._name)

    def name(self, fields: Fields) -> Named:
        """Return the nodes of a touchpoint's record."""
        pairs = tuple([(each["kind"], each["value"]) for each in fields["identifiers"]])
        if self._compounds is not None and (traits := fields.get("traits")):
            pairs += tuple(self._compounds(traits))
        return self._named(pairs, fields.get("verified") is not False)

    def _name(self, pairs: Pairs, is_verified: object) -> Named:
        rule_of, secret = self.rules.of, self._secret
        ranked = [(-rule_of(kind).rank, identifier_id(secret, kind, value), kind, value) for kind, value in pairs]
        if len(ranked) > 1:
            ranked = sorted(set(ranked), reverse=True)
        evidence_id, ids = b"", [id_ for _, id_, _, _ in ranked]
        if len(ids) > 1:
            prefix = VERIFIED if is_verified else UNVERIFIED
            evidence_id = blake2b(prefix + b"".join(sorted(ids)), digest_size=NODE_ID_BYTES).digest()
        ignored: tuple[bytes, ...] = ()
        if not is_verified:
            ignored = tuple([id_ for _, id_, kind, _ in ranked if not rule_of(kind).is_weak][1:])
            ranked = [each for each in ranked if each[1] not in ignored]
        _, nodes, kinds, values = zip(*ranked, strict=True)
        is_compound = not self._confidences.keys().isdisjoint(kinds)
        return Named(
            nodes,
            kinds,
            values,
            ignored,
            evidence_id,
            COMPOUND_RULE if is_compound else EXACT_RULE,
            min([self._confidences.get(kind, 1.0) for kind in kinds]) if is_compound else 1.0,
            self._has_distinct_scopes(kinds, values),
            tuple([NODE + id_ for id_ in nodes]),
            EVIDENCE + evidence_id if evidence_id else b"",
        )

    def _has_distinct_scopes(self, kinds: Sequence[str], values: Sequence[str]) -> bool:
        rules = self.rules
        if len(kinds) > rules.anonymous_neighbours:
            return False
        if len(set(kinds)) == len(kinds):
            return True
        strong = [scope_of(kind, value) for kind, value in zip(kinds, values, strict=True) if not rules.of(kind).is_weak]
        return len(strong) == len(set(strong))


def build_naming(secret: bytes, settings: IdentitySettings, keys: Sequence[CompoundKey]) -> Naming:
    """Return the naming of these settings and compound keys."""
    rules = Rules.from_settings(settings, [key.kind for key in keys])
    confidences = {key.kind: key.confidence for key in keys}
    return Naming(secret, rules, cache_compound_values(keys) if keys else None, confidences)
