"""Columns that the files of the views declare: their meaning, their units, and those that readers already use."""

import re

import pytest

from sinks.lookups import CUSTOMER_VIEWS
from sinks.scripts import load_views
from tests.harness.sinks import declared

PROMISED = {
    "touchpoints": "event_id customer_id customer_id_then source system type channel stage occurred_at received_at stored_at text"
    " sentiment nps csat ces amount currency product order_id ticket_id attributes",
    "journeys": "journey_id customer_id definition status outcome stage started_at last_at touchpoints channels stages friction"
    " moments_of_truth",
    "journey_steps": "journey_id customer_id step event_id stage type channel occurred_at dwell_seconds",
    "satisfaction": "customer_id at score low high evidence drivers definition_version",
    "churn": "customer_id at risk horizon_days idle_days baseline reasons model_version",
    "signals": "customer_id at value low high evidence drivers definition_version",
    "customers": "customer_id first_seen last_seen touchpoints channels segment satisfaction churn_risk"
    " open_journeys lifetime_value",
    "kpis": "day metric dimension value_of_dimension value low high n offered answered scale definition_version mean mean_low"
    " mean_high favourable unfavourable questions",
    "pain_points": "stage channel type customers touchpoints satisfaction_change low high n",
    "identities": "kind identifier customer_id rule event_id at",
    "identity_changes": "at change from_customer to_customer rule who reason event_id",
    "identity_conflicts": "at reason kind identifier value other_kind other_identifier other_value customer_id other_customer"
    " event_id",
    "identity_evidence": "customer_id identifier_id kind other_id other_kind rule confidence touchpoints first_at last_at",
    "dead_letters": "at source stage reason detail topic partition offset schema_id payload replayed replays software key",
    "freshness": "connector last_event_at last_success_at lag_seconds events_24h reconciliation_difference backfill_difference",
    "refreshes": "table made_at age_seconds error",
}
ENDINGS = {"_seconds": "seconds", "_days": "days", "_hours": "hours", "_bytes": "bytes"}
UNIT = re.compile(
    r"seconds|days|hours|bytes|MiB|records|score points|probability|number of|how many|times|\d to \d|scale|units? of|units in"
    r"|same unit|^1:|schema id|partition of|offset|point of|touchpoints"
)
UNITS = {
    "lag_seconds": "seconds",
    "age_seconds": "seconds",
    "dwell_seconds": "seconds",
    "wait_seconds": "seconds",
    "idle_days": "days",
    "horizon_days": "days",
    "delay_days": "days",
    "score": "0 to 100",
    "satisfaction": "0 to 100",
    "satisfaction_change": "score points",
    "risk": "0 to 1",
    "baseline": "0 to 1",
    "churn_risk": "0 to 1",
    "sentiment": "-1 to 1",
    "nps": "0 to 10",
    "csat": "scale_low to scale_high",
    "ces": "scale_low to scale_high",
    "mean": "1 to 7",
    "amount": "units of currency",
    "lifetime_value": "units of currencies",
    "reconciliation_difference": "records",
    "backfill_difference": "records",
    "size": "bytes",
    "payload": "MiB",
}


@pytest.mark.parametrize("view", [view.name for view in load_views()])
def test_each_column_states_its_meaning_and_unit(view: str) -> None:
    """Rules by type and name: a new view needs no entry anywhere."""
    for name, (kind, comment) in declared(view).items():
        assert len(comment) >= 10, name
        if "DateTime" in kind:
            assert "UTC" in comment or "NULL" in comment, name
        if "Float" in kind or "Int" in kind or "Decimal" in kind:
            assert UNIT.search(comment), f"{view}.{name}: the comment states no unit"
        for ending, unit in ENDINGS.items():
            assert not name.endswith(ending) or unit in comment, name
        assert UNITS.get(name, "") in comment, name


def test_columns_that_readers_use_stay() -> None:
    """Columns of released views; a new view needs no entry."""
    for view, promised in PROMISED.items():
        assert set(promised.split()) <= declared(view).keys(), view


@pytest.mark.parametrize("name", CUSTOMER_VIEWS)
def test_view_of_one_customer_selects_the_declared_columns(name: str) -> None:
    """ClickHouse does not apply the column list of a view with a parameter."""
    (view,) = (each for each in load_views() if each.name == f"{name}_of")
    assert f"\nAS\nSELECT {', '.join(declared(name))} FROM\n(\n" in view.sql
    assert declared(view.name) == declared(name)


@pytest.mark.parametrize("name", CUSTOMER_VIEWS)
def test_no_condition_of_a_view_of_one_customer_reads_another_such_view(name: str) -> None:
    """A shard that evaluates the condition does not receive the parameter."""
    (view,) = (each for each in load_views() if each.name == f"{name}_of")
    assert not re.search(r"\bIN\s*\(\s*SELECT[^()]* FROM touchline\.\w+_of\(", view.sql)
