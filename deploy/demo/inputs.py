"""The two inputs of the demo, made ready in the home folder."""

from pathlib import Path
from typing import NamedTuple

from deploy.demo import cdnow
from deploy.local.fetching import into
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


def prepare(step: Step) -> tuple[Input, ...]:
    """Both inputs, fetched and simulated the first time. Raises what `cdnow.drop` raises."""
    with step("CDNOW purchase histories (real)"):
        purchases = Input("cdnow", "real", cdnow.SETTINGS, cdnow.drop(), "1998-07-01")
    with step("a telecom company's files (simulated)"):
        telecom = Input("telecom", "simulated", cdnow.SETTINGS.with_name("telecom.yaml"), _simulated(), UNTIL)
    return purchases, telecom


def _simulated() -> Path:
    from datetime import UTC, datetime

    from deploy.demo.simulator.company import generate

    folder = home() / "demo" / "telecom"
    if not folder.exists():
        with into(folder) as partial:
            generate(SEED, CUSTOMERS, datetime.fromisoformat(UNTIL).replace(tzinfo=UTC), partial)
    return folder / "drops"
