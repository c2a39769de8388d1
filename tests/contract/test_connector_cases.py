"""Cases of every connector: the input in `cases/<case>/` and the touchpoints and dead letters expected for it.

The input is a `settings.yaml` with the files that it names, the `items.json` of a peer, the `rows.json` that `cases/source.py`
opens, or the `requests.json` sent to a listener. The same inputs check that reading resumes after any batch and that cursors are
small.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from pydantic import SecretStr

from connectors.contract import Batch, Connector, Phase, StreamSpec
from connectors.runtime.deduplication import NewRecords, StreamDeduplication
from connectors.settings import FOLDER, list_connectors, open_connector, secret_variable
from schemas.records.dead_letter import DeadLetter
from schemas.records.fields import instant
from schemas.records.normalisation.rules import RULES_VERSION
from schemas.wire.codec import decode
from tests.harness.connector_peers import Server
from tests.harness.connectors import restart_deduplication, select_new
from tests.harness.webhook_senders import delivering

REQUESTS = sorted(FOLDER.glob("*/cases/*/requests.json"))
CASES = sorted(
    path
    for name in ("settings.yaml", "items.json", "rows.json")
    for path in FOLDER.glob(f"*/cases/*/{name}")
    if path.with_name("requests.json") not in REQUESTS
)
Open = Callable[[], Connector]
MAX_SHOWN_BYTES = 200
PARTS = ("Guarantee", "Lag", "[Dd]elete[sd]", "Permissions", "Tested")


@pytest.fixture
def open_source(case: Path, tmp_path: Path) -> Iterator[Open]:
    name = case.relative_to(FOLDER).parts[0]
    if case.name == "requests.json":
        with delivering(name, case) as connector:
            yield lambda: connector
        return
    if case.name == "settings.yaml":
        yield lambda: open_connector(name, case, {})
        return
    if case.name == "rows.json":
        yield lambda: import_module(f"connectors.{name}.cases.source").open_source(case)
        return
    with Server(name, tmp_path).running() as server:
        server.peer.items = {str(number): item for number, item in enumerate(json.loads(case.read_text(encoding="utf-8")))}
        changes = getattr(server.module, "CASES", {}).get(case.parent.name, {})
        yield lambda: server.connector(**{"name": "peer", "timeout_seconds": 5, **changes})


def every_record(connector: Connector, stream: str) -> StreamSpec:
    """The stream without its snapshot rule: a case shows unchanged records, too."""
    return replace(connector.describe_stream(stream), is_snapshot=False)


def read_all(connector: Connector) -> dict[str, list[tuple[Batch, NewRecords]]]:
    found = {}
    for stream in connector.list_streams({}):
        deduplication = StreamDeduplication(None, every_record(connector, stream))
        found[stream] = [(batch, select_new(connector, stream, batch, deduplication)) for batch in connector.read(stream, None)]
    return found


def touchpoint(value: bytes) -> dict[str, Any]:
    fields = {name: field for name, field in decode(value)[1].items() if field not in (None, {})}
    del fields["received_at"]
    fields["identifiers"] = [identifier(one) for one in fields["identifiers"]]
    return {**fields, "event_id": str(UUID(bytes=fields["event_id"])), "occurred_at": instant(fields["occurred_at"]).isoformat()}


def identifier(fields: dict[str, Any]) -> dict[str, Any]:
    """The identifier without the newest version of the rules, which is in all of them."""
    assert fields["rules"] == RULES_VERSION
    return {name: field for name, field in fields.items() if field is not None and name != "rules"}


def dead_letter(letter: DeadLetter) -> dict[str, Any]:
    payload = letter.payload[:MAX_SHOWN_BYTES].decode("utf-8", "backslashreplace")
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


def case_name(case: Path) -> str:
    return f"{case.relative_to(FOLDER).parts[0]}-{case.parent.name}"


@pytest.mark.parametrize("case", CASES + REQUESTS, ids=case_name)
def test_input_becomes_the_expected_touchpoints_and_dead_letters(case: Path, open_source: Open) -> None:
    found, expected = outcome(open_source()), case.with_name("expected.json")
    if not expected.exists():
        expected.write_text(f"{json.dumps(found, indent=1, ensure_ascii=False)}\n", encoding="utf-8")
        pytest.fail(f"{expected} was missing and now holds the actual output: read every line, correct the mapping, run again")
    assert found == json.loads(expected.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_reading_resumes_after_any_batch_without_loss(case: Path, open_source: Open) -> None:
    for stream, batches in read_all(open_source()).items():
        whole = [letter.letter_id for _, part in batches for letter in part.dead_letters]
        published = [value[5:21] for _, part in batches for _, value in part.touchpoints]
        for cut, (last, _) in enumerate(batches, 1):
            connector = open_source()
            list(connector.list_streams({}))
            spec = every_record(connector, stream)
            before = StreamDeduplication(None, spec)
            kept = [select_new(connector, stream, batch, before) for batch, _ in batches[:cut]]
            after = restart_deduplication(before, spec)
            for batch in connector.read(stream, json.loads(json.dumps(dict(last.cursor)))):
                part = select_new(connector, stream, batch, after)
                if batch.phase is not Phase.REPLAY:
                    kept.append(part)
            assert [letter.letter_id for part in kept for letter in part.dead_letters] == whole
            assert [value[5:21] for part in kept for _, value in part.touchpoints] == published


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_cursors_are_small_json(case: Path, open_source: Open) -> None:
    for batches in read_all(open_source()).values():
        assert all(len(json.dumps(dict(batch.cursor))) < 65_536 for batch, _ in batches)


def secrets(name: str) -> list[str]:
    model = import_module(f"connectors.{name}.connector").Connector.settings_model
    return [field for field, info in model.model_fields.items() if info.annotation is SecretStr]


@pytest.mark.parametrize("name", list_connectors())
def test_readme_and_full_sample_have_every_setting_and_the_readme_every_part(name: str) -> None:
    readme = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    full = yaml.safe_load((FOLDER / name / "full.yaml").read_text(encoding="utf-8"))
    settings = import_module(f"connectors.{name}.connector").Connector.settings_model.model_fields.keys()
    assert settings - set(secrets(name)) - full.keys() == set()
    assert [setting for setting in settings if f"`{setting}" not in readme] == []
    assert [part for part in PARTS if not re.search(rf"{part}\b", readme)] == []


@pytest.mark.parametrize("name", list_connectors())
def test_connector_has_a_readme_two_valid_samples_and_cases(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FOLDER / name
    assert (folder / "README.md").is_file()
    assert [path for path in CASES + REQUESTS if path.is_relative_to(folder)]
    monkeypatch.setenv("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    for sample in ("minimal.yaml", "full.yaml"):
        for field in secrets(name):
            monkeypatch.setenv(secret_variable(yaml.safe_load((folder / sample).read_text())["name"], field), "secret")
        assert open_connector(name, folder / sample, {}).name
