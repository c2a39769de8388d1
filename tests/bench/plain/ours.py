"""Plain fold as a step of our engine, in a worker of its own. Argument: the worker's folder."""

import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.service.connection import KafkaSettings
from schemas.wire.topics import CUSTOMER_STATE, PARTITIONS, SATISFACTION
from streams.contract import Output, Record, Refuse, Rows, unexpected_schema
from streams.engine.worker import build_app, lock_folder, run_app
from tests.bench.marks import mark
from tests.bench.plain.fold import add, decode, encode
from tests.bench.plain.workload import TOPIC


class Plain:
    """Step that publishes the customer's row after each touchpoint, and skips touchpoints that the row already contains."""

    name = "plain"
    topics = (TOPIC,)
    table = "customers"
    changelog = CUSTOMER_STATE
    row_group_prefix_bytes = 0
    max_row_bytes = 1024 * 1024
    _idle = True

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        if self._idle:
            mark("first")
            self._idle = False
        outputs = []
        for record in records:
            if record.name != "erp":
                refuse(record, unexpected_schema(record, self.name))
                continue
            name = record.fields["identifiers"][0]["value"]
            key = name.encode()
            if record.offset <= rows.last_applied_offset(key):
                continue
            row = rows.get(key, decode)
            add(row, record.fields)
            rows.put(key, row, encode)
            outputs.append(Output(SATISFACTION, int(name) % PARTITIONS, key, encode(row)))
        return outputs


def main(folder: Path) -> None:
    """Run until SIGTERM."""
    lock = lock_folder(folder)
    run_app(build_app([Plain()], [], KafkaSettings(), folder))
    lock.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
