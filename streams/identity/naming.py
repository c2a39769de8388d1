"""Nodes of a touchpoint: its identifiers and compound keys as keyed ids, the strongest first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from schemas.records.identifiers import identifier_id
from schemas.wire.codec import Fields
from streams.identity.compound import CompoundKey, cache_compound_values
from streams.identity.rows import NODE_ID_BYTES
from streams.identity.rules import COMPOUND, Rules
from streams.identity.settings import IdentitySettings

MAX_CACHED = 100_000
EXACT_RULE, COMPOUND_RULE = "exact-identifier", "compound-key"
Pairs = tuple[tuple[str, str], ...]
Compounds = Callable[[Mapping[str, str]], Iterable[tuple[str, str]]]


class Named(NamedTuple):
    """Nodes of one touchpoint.

    - `nodes`: ids by rank, with `kinds` and `values`. An unverified touchpoint counts for its strongest identifier and for the
      weak ones; `ignored` holds its other identifiers.
    - `evidence_id`: digest of all nodes, empty for a single one.
    - `confidence`: that of the weakest compound key, 1 without one.
    """

    nodes: tuple[bytes, ...]
    kinds: tuple[str, ...]
    values: tuple[str, ...]
    ignored: tuple[bytes, ...]
    evidence_id: bytes
    rule: str
    confidence: float


class Naming:
    """Nodes of touchpoints under the installation's secret. Recent answers come from memory.

    `compounds` returns the kinds and values of the compound keys of a touchpoint's traits; `confidences` are those of the kinds.
    """

    def __init__(
        self, secret: bytes, rules: Rules, compounds: Compounds | None = None, confidences: Mapping[str, float] | None = None
    ) -> None:
        self._secret = secret
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
        found = {identifier_id(self._secret, kind, value): (kind, value) for kind, value in pairs}
        rule_of = self.rules.of
        order = sorted(found, reverse=True)
        order.sort(key=lambda id_: rule_of(found[id_][0]).rank)
        ignored: tuple[bytes, ...] = ()
        if not is_verified:
            ignored = tuple([id_ for id_ in order if not rule_of(found[id_][0]).is_weak][1:])
        nodes = tuple(id_ for id_ in order if id_ not in ignored)
        kinds = tuple(found[id_][0] for id_ in nodes)
        evidence_id = b""
        if len(order) > 1:
            evidence_id = blake2b(bytes((bool(is_verified),)) + b"".join(sorted(order)), digest_size=NODE_ID_BYTES).digest()
        is_compound = any(rule_of(kind).edge_class == COMPOUND for kind in kinds)
        rule = COMPOUND_RULE if is_compound else EXACT_RULE
        confidence = min((self._confidences.get(kind, 1.0) for kind in kinds), default=1.0)
        return Named(nodes, kinds, tuple(found[id_][1] for id_ in nodes), ignored, evidence_id, rule, confidence)


def build_naming(secret: bytes, settings: IdentitySettings, keys: Sequence[CompoundKey]) -> Naming:
    """Return the naming of these settings and compound keys."""
    rules = Rules.from_settings(settings, [key.kind for key in keys])
    confidences = {key.kind: key.confidence for key in keys}
    return Naming(secret, rules, cache_compound_values(keys) if keys else None, confidences)
