"""Check of a worker's identity secret against the fingerprint on `touchline.identity`, before the worker takes traffic.

1. Read the first fingerprint of the log.
2. If there is none, publish the own one and wait for the acknowledgement.
3. Read the first one again: another worker may have published at the same time. The first one in the log counts for both.
4. Raise ConfigError if it differs from the own one.

In a new installation, the fingerprint is the first record of the topic. A fingerprint that came later costs a read up to it.
"""

import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import ConfigError, RecordError, RetryableError
from schemas.service.connection import KafkaSettings
from schemas.service.secret import SECRET, SECRET_FILE
from schemas.wire.codec import decode, encode
from schemas.wire.topics import IDENTITY
from streams.contract import Output
from streams.engine.producer import Producer

KEY = b"f"
MAP = TopicPartition(IDENTITY, 0)
MAX_IDLE_SECONDS = 30.0
MAX_RECORDS = 1_000


async def check_fingerprint(settings: KafkaSettings, own: str) -> None:
    """Do all steps. Raises ConfigError for another secret, RetryableError while Kafka is away."""
    try:
        first = await read_fingerprint(settings)
        if first is None:
            await _publish(settings, own)
            first = await read_fingerprint(settings)
            if first is None:
                raise RetryableError(f"{IDENTITY} does not show the published fingerprint yet")
    except KafkaError as error:
        raise RetryableError(f"{IDENTITY} cannot be read or written ({type(error).__name__})") from error
    _compare(first, own)


async def require_fingerprint(settings: KafkaSettings, own: str) -> None:
    """Check the secret of a program that is no worker, and publish nothing.

    Raises ConfigError for another secret, RetryableError while Kafka is away or no worker has published a fingerprint.
    """
    try:
        first = await read_fingerprint(settings)
    except KafkaError as error:
        raise RetryableError(f"{IDENTITY} cannot be read ({type(error).__name__})") from error
    if first is None:
        raise RetryableError(f"{IDENTITY} has no fingerprint of the identity secret: start `touchline work`")
    _compare(first, own)


def _compare(first: str, own: str) -> None:
    if first != own:
        raise ConfigError(
            f"{SECRET} or {SECRET_FILE}: the secret (fingerprint {own}) is not the one that the ids on {IDENTITY} were made with"
            f" (fingerprint {first}): set that secret, which all workers share"
        )


async def read_fingerprint(settings: KafkaSettings) -> str | None:
    """Return the first fingerprint of the log, or None. Raises RetryableError if Kafka sends no record for some time."""
    consumer = AIOKafkaConsumer(**settings.aiokafka(), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([MAP])
        end = (await consumer.end_offsets([MAP]))[MAP]
        consumer.seek(MAP, (await consumer.beginning_offsets([MAP]))[MAP])
        read_at = time.monotonic()
        while await consumer.position(MAP) < end:
            records = (await consumer.getmany(timeout_ms=1_000, max_records=MAX_RECORDS)).get(MAP, [])
            for record in records:
                if found := extract_fingerprint(record.key, record.value):
                    return found
            read_at = time.monotonic() if records else read_at
            if time.monotonic() - read_at > MAX_IDLE_SECONDS:
                raise RetryableError(
                    f"Kafka sent no record of {IDENTITY} for {MAX_IDLE_SECONDS:.0f} s: is the broker overloaded?"
                )
    finally:
        await consumer.stop()
    return None


def extract_fingerprint(key: bytes | None, value: bytes | None) -> str | None:
    """Return the fingerprint in a record, or None for any other record."""
    if key is None or not key.startswith(KEY):
        return None
    try:
        name, fields = decode(value)
    except RecordError:
        return None  # a tombstone, or junk
    return str(fields["fingerprint"]) if name == "fingerprint" else None


async def _publish(settings: KafkaSettings, own: str) -> None:
    producer = await Producer.open(settings)
    try:
        await producer.publish([Output(IDENTITY, 0, KEY + own.encode(), encode("fingerprint", {"fingerprint": own}))])
    finally:
        await producer.close()
