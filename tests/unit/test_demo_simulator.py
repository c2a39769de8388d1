"""The simulated company: a seed gives the same bytes, truth stays outside the drop, every row is a touchpoint."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.simulator.company import TWICE, generate, simulate
from deploy.demo.simulator.parameters import DEFAULTS
from deploy.demo.simulator.truth import clusters
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


def truth(company: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (company / "truth" / f"{name}.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_writes_the_same_bytes_in_another_process(company: Path, tmp_path: Path) -> None:
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
    again = contents(tmp_path / "again")
    assert again == contents(company)
    assert {Path(name).suffix for name in again} == {".csv", ".jsonl", ".parquet"}


def test_another_seed_writes_other_bytes(company: Path, tmp_path: Path) -> None:
    generate(8, CUSTOMERS, UNTIL, tmp_path)
    assert contents(tmp_path)["truth/customers.jsonl"] != contents(company)["truth/customers.jsonl"]


def test_a_larger_company_holds_the_same_lives_of_the_smaller() -> None:
    small, large = simulate(7, 5, UNTIL), simulate(7, 8, UNTIL)
    assert [life.happenings for life in large.lives[3:5]] == [life.happenings for life in small.lives[3:5]]


def test_a_folder_that_is_not_empty_is_refused(company: Path) -> None:
    command = [sys.executable, "-m", "deploy.demo.simulator", "--out", str(company)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=DEMO.parents[1])
    assert result.returncode == 1
    assert "is not empty: name a new folder" in result.stderr


def test_nothing_in_the_drop_is_truth(company: Path) -> None:
    assert sorted(path.name for path in company.iterdir()) == ["drops", "truth"]
    written = b"".join(contents(company / "drops").values()).lower()
    assert b"left_at" not in written
    assert b"cluster" not in written
    assert b"c00001" not in written


def test_every_row_becomes_the_touchpoint_that_was_meant(company: Path, touchpoints: list[tuple[str, Touchpoint]]) -> None:
    counted = Counter((feed, one.source, one.type) for feed, one in touchpoints)
    expected = {(row["feed"], row["source"], row["type"]): row["rows"] for row in truth(company, "counts")}
    assert counted == expected
    assert len(touchpoints) == sum(row["touchpoints"] for row in truth(company, "customers"))


def test_no_two_rows_are_the_same_event(touchpoints: list[tuple[str, Touchpoint]]) -> None:
    assert len({one.event_id for _, one in touchpoints}) == len(touchpoints)


def test_rows_tell_the_time_and_facts_that_happened(company: Path, touchpoints: list[tuple[str, Touchpoint]]) -> None:
    happened = simulate(7, CUSTOMERS, UNTIL).records
    assert Counter(one.occurred_at for _, one in touchpoints) == Counter(record.at for record in happened)
    answers = Counter(one.model_dump()["answer"] for _, one in touchpoints if one.type == "survey.answered")
    assert answers == Counter(
        float(str(one.happening.facts["answer"])) for one in happened if one.happening.type == "survey.answered"
    )
    delays = sum(one.model_dump()["delay_days"] or 0 for feed, one in touchpoints if feed == "movements")
    assert delays == sum(float(str(one.values["DelayDays"] or 0)) for one in happened if one.feed == "movements")


def test_exact_identifiers_join_the_rows_to_the_expected_clusters(
    company: Path, touchpoints: list[tuple[str, Touchpoint]]
) -> None:
    def canonical(one: Touchpoint) -> tuple[tuple[str, str], ...]:
        return tuple((found.kind, found.value.rpartition("/")[2]) for found in one.identifiers)

    found = clusters(canonical(one) for _, one in touchpoints)
    expected = [cluster for row in truth(company, "customers") for cluster in row["clusters"]]
    assert sorted(map(sorted, found)) == sorted(sorted(map(tuple, cluster)) for cluster in expected)


def test_nearly_all_customers_are_one_cluster_and_a_few_are_not(company: Path) -> None:
    sizes = Counter(len(row["clusters"]) for row in truth(company, "customers"))
    assert 0.8 < sizes[1] / CUSTOMERS < 1


def test_a_contact_made_twice_is_joined_only_by_a_later_call() -> None:
    simulated = simulate(7, 40, UNTIL)
    for person in (simulated.lives[number - 1].person for number in TWICE):
        assert person.duplicate is not None
        rows = [one for one in simulated.records if one.happening.person == person]
        joining = [one for one in rows if {person.duplicate.contact, person.email} <= {value for _, value in one.known}]
        assert [one.happening.type for one in joining] == ["call.logged"]
        apart = clusters(one.known for one in rows if one.at < joining[0].at)
        assert len(clusters(one.known for one in rows)) < len(apart)


def test_people_write_their_addresses_and_numbers_in_several_ways(company: Path) -> None:
    written = b"".join(contents(company / "drops" / "crm").values()).decode()
    assert re.search(r"[A-Z]+\.[A-Z]+\d+@EXAMPLE", written)
    assert re.search(r", \S+@example", written)
    assert re.search(r",001-\d{3}-555-01\d\d,", written)


def test_the_dissatisfied_leave_and_take_their_touchpoints_with_them(company: Path) -> None:
    simulated = simulate(7, 600, UNTIL)
    served = [life for life in simulated.lives if life.joined_at]
    left = [life for life in served if life.left_at]
    stayed = [life for life in served if not life.left_at]
    assert 0.08 < len(left) / len(served) < 0.35
    average_left = sum(life.mood.level(life.left_at) for life in left if life.left_at) / len(left)
    average_stayed = sum(life.mood.level(UNTIL) for life in stayed) / len(stayed)
    assert average_left + 10 < average_stayed
    for life in left:
        late = {one.type for one in life.happenings if life.left_at and one.at > life.left_at}
        assert late <= ({"invoice.issued", "payment.failed"} if life.exit == "stopped paying" else set())


def test_the_story_has_every_ingredient(touchpoints: list[tuple[str, Touchpoint]]) -> None:
    types = {one.type for _, one in touchpoints}
    assert {"stock.out", "stock.restocked", "installation.late", "ticket.reopened", "payment.failed"} <= types
    assert {"contract.cancelled", "contract.renewed", "referral.made", "survey.answered", "invoice.corrected"} <= types
    assert {one.attributes["stage"] for _, one in touchpoints if one.source == "feedback"} == {
        "use",
        "onboarding",
        "support",
    }
    assert {one.attributes["segment"] for _, one in touchpoints if one.source == "crm"} == {"residential", "business"}


def test_the_readme_states_the_parameters_that_hold() -> None:
    table = re.findall(r"^\| `(\w+)` \| (\S.*?) \| ", (DEMO / "README.md").read_text(), flags=re.MULTILINE)
    stated = {name: default for name, default in table if name in DEFAULTS._fields}
    assert stated == {name: str(value) for name, value in DEFAULTS._asdict().items()}
