"""Conflicts of an erased person on the compacted topic `touchline.identity`: the last record of each key has no value."""

from collections.abc import Iterable, Sequence

from deploy.kafka_clients import Message, publish_acknowledged
from schemas.service.connection import KafkaSettings
from schemas.wire.codec import Fields, encode
from schemas.wire.topics import IDENTITY

KEY_PREFIX = b"x"


def clear_conflict(fields: Fields, ids: Sequence[bytes]) -> Fields:
    """Return the conflict without the values of these identifiers."""
    cleared = dict(fields)
    for id_name, value_name in (("identifier_id", "value"), ("other_id", "other_value")):
        if fields[id_name] in ids:
            cleared[value_name] = ""
    return cleared


def publish_conflicts(settings: KafkaSettings, conflicts: Iterable[Fields]) -> None:
    """Publish conflicts under their keys and wait for every acknowledgement."""
    messages = [Message(IDENTITY, KEY_PREFIX + each["conflict_id"], encode("conflict", each), 0) for each in conflicts]
    publish_acknowledged(settings, "touchline-erase", messages)
