"""Worker with the real join step alone. Argument: the worker's folder.

Marks: `assigned` and `recovered` around the recovery of its state, `first` at its first chunk.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.service.connection import KafkaSettings
from streams.contract import Output, Record, Refuse, Rows
from streams.engine.worker import build_app, lock_folder, run_app
from streams.signals import load_signals
from streams.steps.join import Join
from tests.bench.marks import mark


class MarkedJoin(Join):
    """Join step that prints a mark before its first chunk."""

    _idle = True

    def process(self, records: Sequence[Record], rows: Rows, refuse: Refuse) -> list[Output]:
        if self._idle:
            mark("first")
            self._idle = False
        return super().process(records, rows, refuse)


def main(folder: Path) -> None:
    """Run until SIGTERM."""
    lock = lock_folder(folder)
    app = build_app([MarkedJoin(load_signals())], [], KafkaSettings(), folder)

    async def assigned(*_: Any, **_more: Any) -> None:
        mark("assigned")

    async def recovered(*_: Any, **_more: Any) -> None:
        mark("recovered")

    app.on_partitions_assigned.connect(assigned)
    app.on_rebalance_complete.connect(recovered)
    run_app(app)
    lock.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
