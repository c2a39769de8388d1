"""Secret of the installation, compared with that of the workers: with another secret, an erasure finds no row of the person."""

import asyncio

from schemas.service.connection import KafkaSettings
from schemas.service.secret import fingerprint, load_secret


def load_checked_secret() -> bytes:
    """Return the secret of the installation after a look at the fingerprint on Kafka.

    Raises ConfigError for a missing secret or another one than that of the workers, RetryableError without a fingerprint.
    """
    from streams.engine.fingerprint import require_fingerprint  # late: it imports aiokafka

    secret = load_secret()
    asyncio.run(require_fingerprint(KafkaSettings(), fingerprint(secret)))
    return secret
