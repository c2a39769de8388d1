"""Cases of every signal: touchpoints and ticks in, readings out. A new signal or case needs no new test."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import streams.signals
from streams.signals.contract import Reading, Signal
from streams.touchpoint import Touchpoint

FOLDER = Path(streams.signals.__file__).parent
CASES = sorted(FOLDER.glob("*/cases/*.json"))


def milliseconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def touchpoint(number: int, fields: dict[str, Any]) -> Touchpoint:
    rest = {"channel": "web", **{name: value for name, value in fields.items() if name not in ("at", "type")}}
    return Touchpoint(milliseconds(fields["at"]), bytes([number]) * 16, "test", fields["type"], **rest)


def read_case(signal: Signal, case: dict[str, Any]) -> Iterator[tuple[int, Reading]]:
    """Yield readings in order of time. Ticks follow touchpoints of the same time, as in the engine."""
    moments: list[tuple[int, int, Touchpoint | None]] = [
        (each.at, 0, each) for each in (touchpoint(number, fields) for number, fields in enumerate(case["touchpoints"], 1))
    ]
    moments += [(milliseconds(day), 1, None) for day in case.get("ticks", [])]
    state, since = signal.state(), None
    for at, _, each in sorted(moments, key=lambda moment: moment[:2]):
        state = signal.fold(state, each) if each else state
        reading = signal.read(state, at, each, since)
        since = since if each else at
        if reading is not None:
            yield at, reading


def select_expected(expected: dict[str, Any], at: int, reading: Reading) -> dict[str, Any]:
    """Return the fields of the reading that the case states, with numbers to three decimals."""
    values = {**reading._asdict(), "at": datetime.fromtimestamp(at / 1000, UTC).date().isoformat()}
    values["drivers"] = [driver.text for driver in reading.drivers]
    return json.loads(json.dumps({name: values[name] for name in expected}), parse_float=lambda text: round(float(text), 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
def test_signal_case(path: Path) -> None:
    signal = next(each for each in streams.signals.load_signals() if each.name == path.parent.parent.name)
    case = json.loads(path.read_text())
    found = list(read_case(signal, case))
    assert [select_expected(expected, *each) for expected, each in zip(case["readings"], found, strict=True)] == case["readings"]


def test_every_signal_has_cases_and_a_readme() -> None:
    for signal in streams.signals.load_signals():
        assert list((FOLDER / signal.name / "cases").glob("*.json")), f"{signal.name} has no cases"
        assert (FOLDER / signal.name / "README.md").is_file(), f"{signal.name} has no README"
