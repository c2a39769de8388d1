"""The demo on small inputs: worker and sink are killed, files are fed again and again, and every count stays exact.

One fixture runs all chapters once; the tests compare the views after each chapter.
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
from deploy.demo.flow import Flow, FlowReader, open_flow
from deploy.demo.inputs import Input, count_records
from deploy.demo.processes import Processes, run_processes, run_touchline
from deploy.demo.run import drain, reconcile, send_ticks, start_processes
from deploy.demo.simulator.company import generate
from deploy.local.state import Stack
from schemas.errors import TouchlineError
from schemas.service.connection import KafkaSettings
from sinks.clickhouse import ClickHouse

pytestmark = [pytest.mark.integration, pytest.mark.crash, pytest.mark.timeout(600)]
CUSTOMERS, PURCHASES = 60, 8_000
KILLS = {"worker": 1, "sink": 2}
# Columns of the receipt itself, which change when a record is read again.
RECEIPT_COLUMNS = frozenset(
    {"received_at", "stored_at", "customer_id_then", "last_success_at", "lag_seconds", "events_24h", "made_at", "age_seconds"}
)

Views = dict[str, list[str]]


class Fed(NamedTuple):
    """The views after each chapter, the starts of each process, and the output of the last chapter."""

    inputs: list[Input]
    starts: dict[str, int]
    views: dict[str, Views]
    output: str


@pytest.fixture(scope="module")
def fed(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    folder = tmp_path_factory.mktemp("demo")
    inputs = small_inputs(folder)
    run_touchline("migrate")
    client = ClickHouse()
    on = Console(width=80, file=StringIO())
    with run_processes(folder / "log") as children, open_flow(KafkaSettings(), [one.name for one in inputs]) as reader:
        start_processes(children, inputs)
        drain(children, reader, kill_while_busy(children, dict(KILLS)))
        send_ticks(inputs)
        starts = {name: child.starts for name, child in children.children.items()}
        views = {"first": read_views(client, children, reader)}
        reconcile(client, on, inputs)
        views["again"] = feed_again(client, children, reader, inputs)
        copy_all(inputs, b"")
        views["copied"] = feed_again(client, children, reader, inputs)
        copy_all(inputs, b"\n")
        views["altered"] = feed_again(client, children, reader, inputs)
        answers.show_answers(client, on, {one.name: one.kind for one in inputs})
    assert isinstance(on.file, StringIO)
    yield Fed(inputs, starts, views, on.file.getvalue())
    client.close()


def small_inputs(folder: Path) -> list[Input]:
    """Prepare a company of 60 customers, and the first 8,000 purchases of CDNOW."""
    generate(7, CUSTOMERS, datetime(2026, 11, 1, tzinfo=UTC), folder / "telecom")
    lines = (cdnow.fetch_drop() / "CDNOW_master.txt").read_bytes().splitlines(keepends=True)
    (folder / "cdnow").mkdir()
    (folder / "cdnow" / "CDNOW_slice.txt").write_bytes(b"".join(lines[: PURCHASES + 1]))
    settings = cdnow.SETTINGS
    return [
        Input("cdnow", "real", settings, folder / "cdnow", "1998-07-01", PURCHASES),
        Input(
            "telecom",
            "simulated",
            settings.with_name("telecom.yaml"),
            folder / "telecom" / "drops",
            "2026-11-01",
            count_records(folder / "telecom"),
        ),
    ]


def kill_while_busy(children: Processes, left: dict[str, int]) -> Any:
    """Return a function that kills worker and sink while records wait for them."""

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


def feed_again(client: ClickHouse, children: Processes, reader: FlowReader, inputs: list[Input]) -> Views:
    for one in inputs:
        files = ["connect", "files", "--settings", str(one.settings), "--root", str(one.root), "--once"]
        children.start(one.name, files, once=True)
    return read_views(client, children, reader)


def copy_all(inputs: list[Input], ending: bytes) -> None:
    """Copy every file under another name; append `ending` to all but Parquet files."""
    for one in inputs:
        for path in sorted(one.root.rglob("*")):
            if path.is_file() and "copy" not in path.stem:
                copy = path.with_name(f"{path.stem}-copy{len(ending)}{path.suffix}")
                shutil.copy(path, copy)
                if path.suffix != ".parquet":
                    copy.write_bytes(copy.read_bytes() + ending)


def read_views(client: ClickHouse, children: Processes, reader: FlowReader) -> Views:
    """Return every row of every view when no record waits, without the columns of the receipt itself."""
    drain(children, reader, lambda flow: None)
    found = {}
    for (view,) in client.query("SELECT DISTINCT table FROM system.columns WHERE database = 'touchline' ORDER BY table").rows:
        answer = client.query(f"SELECT * FROM touchline.{view}")
        kept = [index for index, column in enumerate(answer.columns) if column not in RECEIPT_COLUMNS]
        found[view] = sorted(repr([plain(row[index]) for index in kept]) for row in answer.rows)
    return found


def plain(value: Any) -> Any:
    """Round floats: a mean over the same numbers in another order differs in its last digits."""
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def count_rows(path: Path) -> int:
    """Count the records of one file without any code of Touchline."""
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    return len(path.read_bytes().splitlines()) - (path.suffix == ".txt")


def list_originals(one: Input) -> list[Path]:
    return [path for path in one.root.rglob("*") if path.is_file() and "copy" not in path.stem]


def query(sql: str) -> list[tuple[Any, ...]]:
    client = ClickHouse()
    try:
        return client.query(sql).rows
    finally:
        client.close()


def test_worker_and_sink_were_killed_while_busy(fed: Fed) -> None:
    assert fed.starts == {"worker": 2, "sink": 3, "cdnow": 1, "telecom": 1}


def test_views_count_exactly_the_records_of_the_files(fed: Fed) -> None:
    stored = query("SELECT connector, source, count(), uniqExact(event_id) FROM touchline.touchpoints GROUP BY connector, source")
    expected: Counter[tuple[str, str]] = Counter()
    for one in fed.inputs:
        for path in list_originals(one):
            expected[one.name, "erp" if one.name == "cdnow" else path.parent.name] += count_rows(path)
    assert {(connector, source): count for connector, source, count, _ in stored} == expected
    assert all(count == once for _, _, count, once in stored)
    assert expected["cdnow", "erp"] == PURCHASES
    assert sum(expected.values()) - PURCHASES > 1_500


def test_every_touchpoint_is_in_one_journey(fed: Fed) -> None:
    assert query("SELECT sum(touchpoints) FROM touchline.journeys") == query("SELECT count() FROM touchline.touchpoints")


def test_customers_are_the_clusters_of_exact_identifiers(fed: Fed) -> None:
    telecom = fed.inputs[1].root.parent / "truth" / "customers.jsonl"
    clusters = sum(len(json.loads(line)["clusters"]) for line in telecom.read_text().splitlines())
    found = query("SELECT uniqExact(customer_id) FROM touchline.touchpoints WHERE connector = 'telecom'")
    assert found == [(clusters,)]


def test_ticks_compute_churn_of_silent_customers(fed: Fed) -> None:
    risks = query(
        "SELECT at, count(), max(idle_days) > 90, min(risk) >= 0, max(risk) <= 1 FROM touchline.churn"
        " WHERE isNull(event_id) GROUP BY at ORDER BY at"
    )
    assert [row[0].date().isoformat() for row in risks] == ["1998-07-01", "2026-11-01"]
    assert all(row[1] > 20 and row[2] and row[3] and row[4] for row in risks)


def test_same_files_again_change_no_view(fed: Fed) -> None:
    assert fed.views["again"] == fed.views["first"]


def test_copies_under_other_names_change_no_view(fed: Fed) -> None:
    assert fed.views["copied"] == fed.views["first"]


def test_records_of_altered_copies_are_stored_once(fed: Fed) -> None:
    assert fed.views["altered"]["freshness"] != fed.views["first"]["freshness"], "no record was read again"
    assert {**fed.views["altered"], "freshness": []} == {**fed.views["first"], "freshness": []}


def test_answers_fit_80_columns(fed: Fed) -> None:
    lines = fed.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line == f"cdnow (real): {PURCHASES:,} records read = {PURCHASES:,} stored once + 0 dead letters" for line in lines)
    for heading in (
        "Inputs and known customers",
        "Survey scores by channel",
        "The ten active customers",
        "The journey of",
        "Pain points",
    ):
        assert any(line.startswith(heading) for line in lines), heading
    words = set(fed.output.split())
    assert words >= {"cdnow", "telecom", "(real)", "(simulated)", "stock.out"}
    assert "…" not in fed.output


def test_different_counts_end_the_demo(fed: Fed) -> None:
    client = ClickHouse()
    try:
        with pytest.raises(TouchlineError, match="the counts of cdnow and telecom differ"):
            reconcile(client, Console(file=StringIO()), fed.inputs)  # read twice, stored once
    finally:
        client.close()
