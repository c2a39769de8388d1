"""`python -m tests.bench.line`: measure the whole line alone, on a stack of its own."""

import tempfile
from pathlib import Path

from rich.console import Console

from tests.bench.line.measure import measure
from tests.harness.stack import running_stack


def main() -> None:
    """Measure throughput, latency and processor time per process."""
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        measure(stack, Console())


if __name__ == "__main__":
    main()
