"""The simulated company: one seed gives the same bytes, truth stays outside of the drop, each row is a touchpoint."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.simulator.company import DUPLICATED, generate, simulate
from deploy.demo.simulator.parameters import DEFAULTS
from deploy.demo.simulator.truth import find_clusters
from schemas.records.touchpoint import Touchpoint
from tests.harness.demo_drops import map_drops

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
CUSTOMERS = 120


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    generate(7, CUSTOMERS, UNTIL, folder)
    return folder


@pytest.fixture(scope="module")
def touchpoints(company: Path) -> list[tuple[str, Touchpoint]]:
    return list(map_drops(company / "drops"))


def read_truth(company: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (company / "truth" / f"{name}.jsonl").read_text().splitlines()]


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_writes_same_bytes_in_another_process(company: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "deploy.demo.simulator",
        "--customers",
        str(CUSTOMERS),
        "--out",
        str(tmp_path / "again"),
    ]
    subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": "1"}, cwd=DEMO.parents[1])
    again = read_files(tmp_path / "again")
    assert again == read_files(company)
    assert {Path(name).suffix for name in again} == {".csv", ".jsonl", ".parquet"}


def test_other_seed_writes_other_bytes(company: Path, tmp_path: Path) -> None:
    generate(8, CUSTOMERS, UNTIL, tmp_path)
    assert read_files(tmp_path)["truth/customers.jsonl"] != read_files(company)["truth/customers.jsonl"]


def test_larger_company_contains_lives_of_smaller() -> None:
    small, large = simulate(7, 5, UNTIL), simulate(7, 8, UNTIL)
    assert [life.events for life in large.lives[3:5]] == [life.events for life in small.lives[3:5]]


def test_folder_that_is_not_empty_is_refused(company: Path) -> None:
    command = [sys.executable, "-m", "deploy.demo.simulator", "--out", str(company)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=DEMO.parents[1])
    assert result.returncode == 1
    assert "is not empty: name a new folder" in result.stderr


def test_drop_contains_no_truth(company: Path) -> None:
    assert sorted(path.name for path in company.iterdir()) == ["drops", "truth"]
    written = b"".join(read_files(company / "drops").values()).lower()
    assert b"left_at" not in written
    assert b"cluster" not in written
    assert b"c00001" not in written


def test_every_row_becomes_its_touchpoint(company: Path, touchpoints: list[tuple[str, Touchpoint]]) -> None:
    counted = Counter((feed, one.source, one.type) for feed, one in touchpoints)
    expected = {(row["feed"], row["source"], row["type"]): row["rows"] for row in read_truth(company, "counts")}
    assert counted == expected
    assert len(touchpoints) == sum(row["touchpoints"] for row in read_truth(company, "customers"))


def test_all_rows_are_different_events(touchpoints: list[tuple[str, Touchpoint]]) -> None:
    assert len({one.event_id for _, one in touchpoints}) == len(touchpoints)


def test_rows_keep_times_and_facts_of_events(company: Path, touchpoints: list[tuple[str, Touchpoint]]) -> None:
    happened = simulate(7, CUSTOMERS, UNTIL).records
    assert Counter(one.occurred_at for _, one in touchpoints) == Counter(record.at for record in happened)
    answers = Counter(one.model_dump()["answer"] for _, one in touchpoints if one.type == "survey.answered")
    assert answers == Counter(float(str(one.event.facts["answer"])) for one in happened if one.event.type == "survey.answered")
    delays = sum(one.model_dump()["delay_days"] or 0 for feed, one in touchpoints if feed == "movements")
    assert delays == sum(float(str(one.values["DelayDays"] or 0)) for one in happened if one.feed == "movements")


def test_exact_identifiers_form_expected_clusters(company: Path, touchpoints: list[tuple[str, Touchpoint]]) -> None:
    def canonical(one: Touchpoint) -> tuple[tuple[str, str], ...]:
        return tuple((found.kind, found.value.rpartition("/")[2]) for found in one.identifiers)

    found = find_clusters(canonical(one) for _, one in touchpoints)
    expected = [cluster for row in read_truth(company, "customers") for cluster in row["clusters"]]
    assert sorted(map(sorted, found)) == sorted(sorted(map(tuple, cluster)) for cluster in expected)


def test_most_but_not_all_customers_are_one_cluster(company: Path) -> None:
    sizes = Counter(len(row["clusters"]) for row in read_truth(company, "customers"))
    assert 0.8 < sizes[1] / CUSTOMERS < 1


def test_duplicate_contact_is_joined_only_by_later_call() -> None:
    simulated = simulate(7, 40, UNTIL)
    for person in (simulated.lives[number - 1].person for number in DUPLICATED):
        assert person.duplicate is not None
        rows = [one for one in simulated.records if one.event.person == person]
        joining = [one for one in rows if {person.duplicate.contact, person.email} <= {value for _, value in one.known}]
        assert [one.event.type for one in joining] == ["call.logged"]
        apart = find_clusters(one.known for one in rows if one.at < joining[0].at)
        assert len(find_clusters(one.known for one in rows)) < len(apart)


def test_addresses_and_numbers_have_several_spellings(company: Path) -> None:
    written = b"".join(read_files(company / "drops" / "crm").values()).decode()
    assert re.search(r"[A-Z]+\.[A-Z]+\d+@EXAMPLE", written)
    assert re.search(r", \S+@example", written)
    assert re.search(r",001-\d{3}-555-01\d\d,", written)


def test_dissatisfied_customers_leave_and_have_no_later_touchpoints(company: Path) -> None:
    simulated = simulate(7, 600, UNTIL)
    served = [life for life in simulated.lives if life.joined_at]
    left = [life for life in served if life.left_at]
    stayed = [life for life in served if not life.left_at]
    assert 0.08 < len(left) / len(served) < 0.35
    average_left = sum(life.satisfaction.level(life.left_at) for life in left if life.left_at) / len(left)
    average_stayed = sum(life.satisfaction.level(UNTIL) for life in stayed) / len(stayed)
    assert average_left + 10 < average_stayed
    for life in left:
        late = {one.type for one in life.events if life.left_at and one.at > life.left_at}
        assert late <= ({"invoice.issued", "payment.failed"} if life.exit == "stopped paying" else set())


def test_events_of_all_kinds_occur(touchpoints: list[tuple[str, Touchpoint]]) -> None:
    types = {one.type for _, one in touchpoints}
    assert {"stock.out", "stock.restocked", "installation.late", "ticket.reopened", "payment.failed"} <= types
    assert {"contract.cancelled", "contract.renewed", "referral.made", "survey.answered", "invoice.corrected"} <= types
    assert {one.attributes["stage"] for _, one in touchpoints if one.source == "feedback"} == {
        "use",
        "onboarding",
        "support",
    }
    assert {one.attributes["segment"] for _, one in touchpoints if one.source == "crm"} == {"residential", "business"}


def test_readme_states_the_default_parameters() -> None:
    table = re.findall(r"^\| `(\w+)` \| (\S.*?) \| ", (DEMO / "README.md").read_text(), flags=re.MULTILINE)
    stated = {name: default for name, default in table if name in DEFAULTS._fields}
    assert stated == {name: str(value) for name, value in DEFAULTS._asdict().items()}
