"""The demo's line on small inputs: worker and sink killed on the way, files fed again and again, and every count exact.

One fixture runs the whole story once; the tests look at what the views said after each chapter.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from deploy.demo import answers, cdnow
from deploy.demo.flow import Flow, Watch, watching
from deploy.demo.inputs import Input
from deploy.demo.processes import Processes, processes, touchline
from deploy.demo.run import drain, reconcile, start, tick
from deploy.demo.simulator.company import generate
from deploy.local.state import Stack
from schemas.errors import TouchlineError
from schemas.service.connection import KafkaSettings
from sinks.clickhouse import ClickHouse

pytestmark = [pytest.mark.integration, pytest.mark.crash, pytest.mark.timeout(600)]
CUSTOMERS, PURCHASES = 60, 8_000
KILLS = {"worker": 1, "sink": 2}
# When and as whose a record last passed: what a second passing may change.
OF_RECEIPT = frozenset(
    {"received_at", "stored_at", "customer_id_then", "last_success_at", "lag_seconds", "events_24h", "made_at", "age_seconds"}
)

Views = dict[str, list[str]]


class Fed(NamedTuple):
    """What the views said after each chapter, how often each process was started, and the last screen."""

    inputs: list[Input]
    starts: dict[str, int]
    views: dict[str, Views]
    screen: str


@pytest.fixture(scope="module")
def fed(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    folder = tmp_path_factory.mktemp("demo")
    inputs = small_inputs(folder)
    touchline("migrate")
    client = ClickHouse()
    on = Console(width=100, file=StringIO())
    with processes(folder / "log") as children, watching(KafkaSettings(), [one.name for one in inputs]) as watch:
        start(children, inputs)
        drain(children, watch, killing(children, dict(KILLS)))
        tick(inputs)
        starts = {name: child.starts for name, child in children.children.items()}
        views = {"first": everything(client, children, watch)}
        reconcile(client, on, inputs)
        views["again"] = fed_again(client, children, watch, inputs)
        copy_all(inputs, b"")
        views["copied"] = fed_again(client, children, watch, inputs)
        copy_all(inputs, b"\n")
        views["altered"] = fed_again(client, children, watch, inputs)
        answers.show(client, on, {one.name: one.kind for one in inputs})
    assert isinstance(on.file, StringIO)
    yield Fed(inputs, starts, views, on.file.getvalue())
    client.close()


def small_inputs(folder: Path) -> list[Input]:
    """A company of 60, and the first 8,000 purchases of CDNOW."""
    generate(7, CUSTOMERS, datetime(2026, 11, 1, tzinfo=UTC), folder / "telecom")
    lines = (cdnow.drop() / "CDNOW_master.txt").read_bytes().splitlines(keepends=True)
    (folder / "cdnow").mkdir()
    (folder / "cdnow" / "CDNOW_slice.txt").write_bytes(b"".join(lines[: PURCHASES + 1]))
    settings = cdnow.SETTINGS
    return [
        Input("cdnow", "real", settings, folder / "cdnow", "1998-07-01"),
        Input("telecom", "simulated", settings.with_name("telecom.yaml"), folder / "telecom" / "drops", "2026-11-01"),
    ]


def killing(children: Processes, left: dict[str, int]) -> Any:
    """A look at the flow that kills worker and sink while work waits for them."""

    def show(flow: Flow) -> None:
        waiting = {"worker": 0, "sink": 0}
        for stage in flow.stages:
            waiting["sink" if stage.name.startswith("store ") else "worker"] += stage.waiting
        for name, kills in left.items():
            if kills and waiting[name] and any(stage.done for stage in flow.stages):
                children.children[name].process.kill()
                children.children[name].process.wait()
                left[name] -= 1

    return show


def fed_again(client: ClickHouse, children: Processes, watch: Watch, inputs: list[Input]) -> Views:
    for one in inputs:
        files = ["connect", "files", "--settings", str(one.settings), "--root", str(one.root), "--once"]
        children.start(one.name, files, once=True)
    return everything(client, children, watch)


def copy_all(inputs: list[Input], ending: bytes) -> None:
    """Every text file once more under another name, with `ending` after its end; Parquet files as they are."""
    for one in inputs:
        for path in sorted(one.root.rglob("*")):
            if path.is_file() and "copy" not in path.stem:
                copy = path.with_name(f"{path.stem}-copy{len(ending)}{path.suffix}")
                shutil.copy(path, copy)
                if path.suffix != ".parquet":
                    copy.write_bytes(copy.read_bytes() + ending)


def everything(client: ClickHouse, children: Processes, watch: Watch) -> Views:
    """Every row of every view when nothing waits any more, without the columns that tell of the receipt itself."""
    drain(children, watch, lambda flow: None)
    found = {}
    for (view,) in client.query("SELECT DISTINCT table FROM system.columns WHERE database = 'touchline' ORDER BY table").rows:
        answer = client.query(f"SELECT * FROM touchline.{view}")
        kept = [index for index, column in enumerate(answer.columns) if column not in OF_RECEIPT]
        found[view] = sorted(repr([plain(row[index]) for index in kept]) for row in answer.rows)
    return found


def plain(value: Any) -> Any:
    """A mean over the same numbers in another order differs in its last digits, which near zero are the first ones."""
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def rows_in(path: Path) -> int:
    """Records of one file, counted without any of our code."""
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    return len(path.read_bytes().splitlines()) - (path.suffix == ".txt")


def originals(one: Input) -> list[Path]:
    return [path for path in one.root.rglob("*") if path.is_file() and "copy" not in path.stem]


def query(sql: str) -> list[tuple[Any, ...]]:
    client = ClickHouse()
    try:
        return client.query(sql).rows
    finally:
        client.close()


def test_worker_and_sink_were_killed_in_the_middle(fed: Fed) -> None:
    assert fed.starts == {"worker": 2, "sink": 3, "cdnow": 1, "telecom": 1}


def test_the_views_count_exactly_what_the_files_hold(fed: Fed) -> None:
    stored = query("SELECT connector, source, count(), uniqExact(event_id) FROM touchline.touchpoints GROUP BY connector, source")
    held: Counter[tuple[str, str]] = Counter()
    for one in fed.inputs:
        for path in originals(one):
            held[one.name, "erp" if one.name == "cdnow" else path.parent.name] += rows_in(path)
    assert {(connector, source): count for connector, source, count, _ in stored} == held
    assert all(count == once for _, _, count, once in stored)
    assert held["cdnow", "erp"] == PURCHASES
    assert sum(held.values()) - PURCHASES > 1_500


def test_every_touchpoint_is_in_one_journey(fed: Fed) -> None:
    assert query("SELECT sum(touchpoints) FROM touchline.journeys") == query("SELECT count() FROM touchline.touchpoints")


def test_customers_are_the_clusters_that_exact_identifiers_form(fed: Fed) -> None:
    telecom = fed.inputs[1].root.parent / "truth" / "customers.jsonl"
    clusters = sum(len(json.loads(line)["clusters"]) for line in telecom.read_text().splitlines())
    found = query("SELECT uniqExact(customer_id) FROM touchline.touchpoints WHERE connector = 'telecom'")
    assert found == [(clusters,)]


def test_silence_shows_at_the_end_of_the_data(fed: Fed) -> None:
    risks = query(
        "SELECT at, count(), max(idle_days) > 90, min(risk) >= 0, max(risk) <= 1 FROM touchline.churn"
        " WHERE isNull(event_id) GROUP BY at ORDER BY at"
    )
    assert [row[0].date().isoformat() for row in risks] == ["1998-07-01", "2026-11-01"]
    assert all(row[1] > 20 and row[2] and row[3] and row[4] for row in risks)


def test_feeding_the_same_files_again_changes_no_view(fed: Fed) -> None:
    assert fed.views["again"] == fed.views["first"]


def test_copies_under_other_names_change_no_view(fed: Fed) -> None:
    assert fed.views["copied"] == fed.views["first"]


def test_records_published_again_from_altered_copies_are_stored_once(fed: Fed) -> None:
    assert fed.views["altered"]["freshness"] != fed.views["first"]["freshness"], "nothing was read again"
    assert {**fed.views["altered"], "freshness": []} == {**fed.views["first"], "freshness": []}


def test_the_demo_answers_its_questions_on_a_screen_of_100_columns(fed: Fed) -> None:
    lines = fed.screen.splitlines()
    assert max(map(len, lines)) <= 100
    assert any(
        line.startswith(f"read from sources {PURCHASES:,} = touchpoints stored once {PURCHASES:,} + dead") for line in lines
    )
    for heading in ("What came in", "Survey scores by channel", "The ten riskiest customers", "The journey of", "Pain points"):
        assert any(line.startswith(heading) for line in lines), heading
    assert any("cdnow (real)" in line for line in lines)
    assert any("telecom (simulated)" in line for line in lines)
    assert any("stock.out" in line for line in lines)


def test_counts_that_do_not_agree_end_the_demo(fed: Fed) -> None:
    client = ClickHouse()
    try:
        with pytest.raises(TouchlineError, match="the counts of cdnow and telecom do not agree"):
            reconcile(client, Console(file=StringIO()), fed.inputs)  # read twice by now, stored once
    finally:
        client.close()
