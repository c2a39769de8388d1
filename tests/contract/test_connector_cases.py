"""Every connector's `cases/<case>/` folder: its settings and input, and the touchpoints and dead letters it must become.

The same inputs hold the rules of the contract: safe to abandon after any batch, small cursors, no value in a detail.
"""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connectors.contract import Batch, Connector, Phase
from connectors.outgoing import Outgoing, outgoing
from connectors.settings import FOLDER, names, open_connector
from schemas.codec import decode
from schemas.dead_letter import DeadLetter
from schemas.fields import instant

CASES = sorted(FOLDER.glob("*/cases/*/settings.yaml"))
SHOWN_BYTES = 200


def opened(settings: Path) -> Connector:
    return open_connector(settings.relative_to(FOLDER).parts[0], settings, {})


def read_all(connector: Connector) -> dict[str, list[tuple[Batch, Outgoing]]]:
    found = {}
    for stream in connector.streams({}):
        seen: set[UUID] = set()
        found[stream] = [(batch, outgoing(connector, stream, batch, seen)) for batch in connector.read(stream, None)]
    return found


def touchpoint(value: bytes) -> dict[str, Any]:
    fields = {name: field for name, field in decode(value)[1].items() if field not in (None, {})}
    del fields["received_at"]
    return {**fields, "event_id": str(UUID(bytes=fields["event_id"])), "occurred_at": instant(fields["occurred_at"]).isoformat()}


def dead_letter(letter: DeadLetter) -> dict[str, Any]:
    payload = letter.payload[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return {
        "origin": letter.origin,
        "source": letter.source,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload": payload,
        "size": letter.size,
        "truncated": letter.truncated,
    }


def outcome(connector: Connector) -> dict[str, Any]:
    parts = [part for batches in read_all(connector).values() for _, part in batches]
    return {
        "touchpoints": [touchpoint(value) for part in parts for _, value in part.touchpoints],
        "dead_letters": [dead_letter(letter) for part in parts for letter in part.dead_letters],
        "repeated": sum(part.repeated for part in parts),
    }


def case_name(settings: Path) -> str:
    return f"{settings.relative_to(FOLDER).parts[0]}-{settings.parent.name}"


@pytest.mark.parametrize("settings", CASES, ids=case_name)
def test_the_input_becomes_exactly_the_expected_touchpoints_and_dead_letters(settings: Path) -> None:
    expected = json.loads((settings.parent / "expected.json").read_text(encoding="utf-8"))
    assert outcome(opened(settings)) == expected


@pytest.mark.parametrize("settings", CASES, ids=case_name)
def test_reading_can_be_abandoned_after_any_batch_and_resumed_without_loss(settings: Path) -> None:
    for stream, batches in read_all(opened(settings)).items():
        whole = [letter.letter_id for _, part in batches for letter in part.dead_letters]
        published = [value[5:21] for _, part in batches for _, value in part.touchpoints]
        for cut, (last, _) in enumerate(batches, 1):
            connector = opened(settings)
            list(connector.streams({}))
            seen: set[UUID] = set()
            kept = [part for _, part in batches[:cut]]
            for batch in connector.read(stream, json.loads(json.dumps(dict(last.cursor)))):
                part = outgoing(connector, stream, batch, seen)
                if batch.phase is not Phase.REPLAY:
                    kept.append(part)
            assert [letter.letter_id for part in kept for letter in part.dead_letters] == whole
            assert [value[5:21] for part in kept for _, value in part.touchpoints] == published


@pytest.mark.parametrize("settings", CASES, ids=case_name)
def test_cursors_are_small_json(settings: Path) -> None:
    for batches in read_all(opened(settings)).values():
        assert all(len(json.dumps(dict(batch.cursor))) < 65_536 for batch, _ in batches)


@pytest.mark.parametrize("name", names())
def test_each_connector_has_its_readme_two_samples_that_parse_and_cases(name: str) -> None:
    folder = FOLDER / name
    assert (folder / "README.md").is_file()
    assert [path for path in CASES if path.is_relative_to(folder)]
    for sample in ("minimal.yaml", "full.yaml"):
        assert open_connector(name, folder / sample, {}).name
