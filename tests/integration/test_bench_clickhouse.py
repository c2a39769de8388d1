"""The ClickHouse benchmark on few rows gives correct answers before and after more rows. No times are checked."""

import psutil
import pytest
from rich.progress import Progress

from deploy.local.state import Stack
from schemas.errors import FatalError
from sinks.clickhouse import ClickHouse
from tests.bench.clickhouse import parts
from tests.bench.clickhouse.__main__ import migrate
from tests.bench.clickhouse.answers import run_questions
from tests.bench.clickhouse.concurrent_reader import read_concurrently
from tests.bench.clickhouse.fill import fill
from tests.bench.clickhouse.questions import questions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
TOUCHPOINTS, CUSTOMERS = 20_000, 200


def test_answers_are_right_at_rest_and_after_writing_with_all_that_was_written(own_stack: Stack) -> None:
    migrate()
    client, server = ClickHouse(), psutil.Process(own_stack.service("clickhouse").pid)
    try:
        with Progress(disable=True) as progress:
            fill(client, progress, TOUCHPOINTS, CUSTOMERS)
            assert len(run_questions(client, server, progress, TOUCHPOINTS, CUSTOMERS)) == 4
            with read_concurrently(list(questions(TOUCHPOINTS, CUSTOMERS, client))) as meanwhile:
                written = parts.write(client, TOUCHPOINTS, CUSTOMERS, 0.1, lambda: None)
            parts.read(client, TOUCHPOINTS, written.touchpoints, CUSTOMERS)
            assert written.touchpoints == 30_000
            assert sum(map(len, meanwhile.values())) >= 1
            with pytest.raises(FatalError, match="the answer to customer is wrong"):
                run_questions(client, server, progress, TOUCHPOINTS, CUSTOMERS)
            assert len(run_questions(client, server, progress, TOUCHPOINTS + written.touchpoints, CUSTOMERS)) == 4
    finally:
        client.close()
