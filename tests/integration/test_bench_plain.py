"""Plain-fold benchmark on few records: it accepts right answers and rejects wrong ones. No times are checked."""

import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from deploy.local.state import Stack
from schemas.errors import FatalError
from streams.contract import Output
from tests.bench.plain.check import compare
from tests.bench.plain.fold import encode
from tests.bench.plain.runner import Bench
from tests.bench.plain.variants import ours
from tests.bench.plain.workload import TOPIC, Workload, model, records
from tests.bench.process import MeasuredProcess
from tests.bench.publish import publish

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
WORKLOAD = Workload(touchpoints=3_000, customers=200, small=10)


@pytest.fixture(scope="module")
def bench(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    with Progress(disable=True) as progress:
        prepared = Bench(own_stack, tmp_path_factory.mktemp("bench"), WORKLOAD, progress)
        prepared.prepare()
    return prepared


def test_floor_and_our_engine_process_every_touchpoint_and_a_wrong_output_raises(bench: Bench) -> None:
    assert bench.floor("ours").records == WORKLOAD.touchpoints
    variant = ours(bench.folder)
    assert bench.run(variant).records == WORKLOAD.touchpoints  # run checks every output and every row of the changelog
    key, row = next(iter(model(WORKLOAD, WORKLOAD.touchpoints).items()))
    with Progress(disable=True) as progress:
        publish([Output(variant.outputs, int(key) % 8, key, encode(row))], 1, progress, "one output twice")
    with pytest.raises(FatalError, match=f"counts {row.count}: an output is missing or repeated"):
        bench.check(variant)


def test_different_or_unexpected_customer_is_a_wrong_answer() -> None:
    expected, other = model(WORKLOAD, 100), model(WORKLOAD, 99)
    compare("same", "topic", expected, model(WORKLOAD, 100))
    with pytest.raises(FatalError, match=f"1 of {len(expected)} customers"):
        compare("one less", "topic", expected, other)
    with pytest.raises(FatalError, match="1 of 1 customers"):
        compare("one more", "topic", {}, dict(list(expected.items())[:1]))


def test_workload_is_reproducible_with_records_of_about_a_hundred_bytes() -> None:
    first = list(records(WORKLOAD, TOPIC))
    assert first == list(records(WORKLOAD, TOPIC))
    assert all(85 <= len(output.value) <= 115 for output in first)
    assert len({output.key for output in first}) == WORKLOAD.customers


def test_measured_process_that_ends_early_reports_its_log(bench: Bench, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('out of luck')")
    with (
        MeasuredProcess(command, tmp_path / "log", bench.broker) as process,
        pytest.raises(FatalError, match="ended before its mark `first`; end of its log: out of luck"),
    ):
        process.until_committed("no-group", TOPIC, 1)
