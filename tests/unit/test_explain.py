"""Output of `touchline explain`."""

from io import StringIO
from uuid import uuid4

from rich.console import Console

from deploy.explain.customer import CustomerHistory, Driver, Journey, Reading, TimelineEntry
from deploy.explain.output import show_history
from schemas.records.fields import instant
from tests.harness.identity import make_identity


def test_history_fits_80_columns_and_cuts_nothing() -> None:
    event, customer, at = uuid4(), uuid4(), instant(1_790_000_000_000)
    entry = TimelineEntry(
        event, at, customer, "inventory", "sim-warehouse", "installation.scheduled", "technician", "onboarding", "late again",
        "RTR-BE7200", 1_234_567.5, "USD", "nps", 2.0, 6.0, 40.5, -21.5,
    )  # fmt: skip
    stages = ["consideration", "purchase", "onboarding", "support", "use", "renewal"]
    history = CustomerHistory(
        make_identity("social_handle:sim-mastodon/ann_adler1@social.example", "email:ann@example.com", customer=customer),
        at, 1, [entry],
        [Journey(uuid4(), "v1", "completed", "renewed", "use", at, at, 1_000, 100, ["web"], stages, has_later_touchpoints=True)],
        [Reading("churn", at, 0.31, 0.2, 0.45, 4, "churn-1", event, [Driver(event, 0.12, "complaint without an answer")])],
    )  # fmt: skip
    out = StringIO()
    show_history(Console(width=80, file=out), history)
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    words = set(shown.replace(",", " ").replace(":", " ").split())
    assert words >= {str(event), str(event)[:8], "installation.scheduled", "technician", "sim-warehouse", "RTR-BE7200", "-21.5"}
    assert words >= {"1", "234", "567.50", "+12.0", "000", "consideration", "completed", str(customer), "ann@example.com"}
