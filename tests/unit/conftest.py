"""Unit tests read no settings of the environment, such as the addresses that a stack of the same test process exports."""

import os
from collections.abc import Iterator

import pytest

PREFIXES = ("TOUCHLINE_CLICKHOUSE_", "TOUCHLINE_IDENTITY_", "TOUCHLINE_KAFKA_", "TOUCHLINE_STREAMS_")
NAMES = ("TOUCHLINE_HOME", "TOUCHLINE_METRICS_PORT", "TOUCHLINE_RESTARTS", "TOUCHLINE_TARGETS", "TOUCHLINE_WAIT_SECONDS")


@pytest.fixture(autouse=True, scope="module")
def _no_settings_of_the_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIXES) or name in NAMES]:
            patch.delenv(name)
        yield
