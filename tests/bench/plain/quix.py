"""Plain fold on Quix Streams, in an interpreter of its own. Arguments: servers, topic, output topic, folder, commit every.

The settings are the best comparable ones: state as bytes of the same codec, batched and compressed sends, our commit interval.
Changelog and idempotence are on. With `commit every` 0, only the interval commits.
"""

import sys
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found]

from tests.bench.marks import mark
from tests.bench.plain.fold import add, decode, encode, read


def fold(touchpoint: dict[str, Any], state: Any) -> bytes:
    """Return the customer's row after the touchpoint. Quix keeps one state per message key."""
    row = decode(state.get_bytes("row"))
    add(row, touchpoint)
    value = encode(row)
    state.set_bytes("row", value)
    return value


def main(servers: str, topic: str, output: str, folder: str, commit_every: str) -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=servers,
        consumer_group=output,
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="ERROR",
        commit_interval=1.0,
        commit_every=int(commit_every),
        producer_extra_config={"acks": "all", "linger.ms": 20, "compression.type": "lz4", "batch.size": 524_288},
        consumer_extra_config={"max.partition.fetch.bytes": 8 * 1024 * 1024},
    )
    idle = True

    def take(value: bytes) -> dict[str, Any]:
        nonlocal idle
        if idle:
            mark("first")
            idle = False
        return read(value)

    touchpoints = app.topic(topic, value_deserializer="bytes", key_deserializer="bytes")
    readings = app.topic(output, value_serializer="bytes", key_serializer="bytes")
    app.dataframe(touchpoints).apply(take).apply(fold, stateful=True).to_topic(readings)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
