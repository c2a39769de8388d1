"""The two inputs of the demo, prepared in the home folder."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from deploy.demo import cdnow
from deploy.local.fetching import complete_folder
from deploy.local.progress import Step
from deploy.local.state import home

SEED, CUSTOMERS, UNTIL = 7, 600, "2026-11-01"


class Input(NamedTuple):
    """One input: `name` is its connector's, `kind` is real or simulated, `ends` is the day after its data ends."""

    name: str
    kind: str
    settings: Path
    root: Path
    ends: str
    records: int


def prepare_inputs(step: Step) -> tuple[Input, ...]:
    """Return both inputs; download or simulate them the first time. Raises as `cdnow.fetch_drop` does."""
    with step("CDNOW purchase histories (real)"):
        purchases = Input("cdnow", "real", cdnow.SETTINGS, cdnow.fetch_drop(), "1998-07-01", cdnow.TRANSACTIONS)
    with step("files of a telecom company (simulated)"):
        folder = _simulate()
        settings = cdnow.SETTINGS.with_name("telecom.yaml")
        telecom = Input("telecom", "simulated", settings, folder / "drops", UNTIL, count_records(folder))
    return purchases, telecom


def total_records(inputs: Iterable[Input]) -> int:
    """Return the number of records in all inputs."""
    return sum(one.records for one in inputs)


def count_records(folder: Path) -> int:
    """Return the number of records that the simulator wrote below `folder`, for the progress bar."""
    lines = (folder / "truth" / "counts.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["rows"] for line in lines)


def _simulate() -> Path:
    from deploy.demo.simulator.company import generate

    folder = home() / "demo" / "telecom"
    if not folder.exists():
        with complete_folder(folder) as partial:
            generate(SEED, CUSTOMERS, datetime.fromisoformat(UNTIL).replace(tzinfo=UTC), partial)
    return folder
