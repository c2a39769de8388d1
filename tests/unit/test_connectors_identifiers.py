"""Identifiers through a connector: settings of a feed, refused values in metrics and previews, and unauthenticated sources."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from connectors.contract import Connector, Phase
from connectors.files.connector import Connector as FilesConnector
from connectors.intake.settings import Endpoint
from connectors.runtime.deduplication import NewRecords, StreamDeduplication
from connectors.runtime.encode import encode_batch
from connectors.runtime.metrics import ConnectorMetrics
from connectors.settings import open_connector
from deploy.connect.output import show_preview
from schemas.wire.codec import decode

COLUMNS = ["id", "phone", "mail", "user", "device", "first"]
MAP: dict[str, Any] = {
    "type": "'contact.updated'",
    "channel": "'system'",
    "occurred_at": "iso('2026-05-01', 'UTC')",
    "identifiers": {"phone": "phone", "email": "mail", "user_id": "user", "device": "device"},
    "traits": {"given_name": "first"},
}


def open_feed(folder: Path, rows: list[str], **settings: Any) -> Connector:
    """Open a `files` connector that reads these rows."""
    feed = {"files": "*.csv", "format": "csv", "source": "crm", "system": "shop", "columns": COLUMNS, "key": "id", "map": MAP}
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"name": "contacts", "root": ".", "feeds": {"contacts": {**feed, **settings}}}))
    (folder / "contacts.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    connector = open_connector("files", path, {})
    assert isinstance(connector, FilesConnector)
    return connector


def select_all(connector: Connector, deduplication: StreamDeduplication | None = None) -> NewRecords:
    [stream] = connector.list_streams({})
    deduplication = deduplication or StreamDeduplication(None, connector.describe_stream(stream))
    [batch] = connector.read(stream, None)
    return deduplication.select_new(encode_batch(connector, stream, batch), Phase.NEXT)


def values(new: NewRecords) -> list[list[str]]:
    return [[each["value"] for each in decode(value)[1]["identifiers"]] for _, value in new.touchpoints]


def count_refused(kind: str, reason: str) -> float:
    labels = {"connector": "contacts", "kind": kind, "reason": reason}
    return REGISTRY.get_sample_value("touchline_connector_refused_identifiers_total", labels) or 0.0


PHONES = ["555-0199", "5550199", "+49 151 1234567", "0151 1234567", "+49 (0)151 1234567", "030 1234567 / 0171 7654321"]
LOCAL = [f"{number},{phone},,,," for number, phone in enumerate(PHONES)]


def test_national_numbers_belong_to_their_system_without_region(tmp_path: Path) -> None:
    assert values(select_all(open_feed(tmp_path, LOCAL))) == [
        ["shop/5550199"],
        ["shop/5550199"],
        ["+491511234567"],
        ["shop/01511234567"],
        ["+491511234567"],
        ["shop/0301234567", "shop/01717654321"],
    ]


def test_spellings_of_one_number_are_one_person_with_region(tmp_path: Path) -> None:
    found = values(select_all(open_feed(tmp_path, LOCAL, region="DE")))
    assert found[2:] == [*[["+491511234567"]] * 3, ["+49301234567", "+491717654321"]]
    assert found[:2] == [["shop/5550199"]] * 2


def test_numbers_damaged_by_a_spreadsheet_identify_no_one(tmp_path: Path) -> None:
    new = select_all(open_feed(tmp_path, ["1,4.91512E+12,,,,", "2,4.91512E+12,,,,", '3,"4,91512E+12",,,,']))
    assert new.touchpoints == []
    assert {letter.reason for letter in new.dead_letters} == {"missing_identifier"}
    assert all("phone (exponent)" in letter.detail and "91512" not in letter.detail for letter in new.dead_letters)


@pytest.mark.parametrize(
    "row",
    [
        "1,,,,00000000-0000-0000-0000-000000000000,",
        "1,,,[object Object],,",
        "1,,,true,,",
        "1,,,guest,,",
        "1,9999999999,,,,",
        "1,,noreply@shop.example,,,",
    ],
)
def test_placeholders_identify_no_one(tmp_path: Path, row: str) -> None:
    new = select_all(open_feed(tmp_path, [row]))
    assert (len(new.touchpoints), [letter.reason for letter in new.dead_letters]) == (0, ["missing_identifier"])


def test_role_address_stays_an_identifier(tmp_path: Path) -> None:
    assert values(select_all(open_feed(tmp_path, ["1,,info@bigcustomer.example,,,"]))) == [["info@bigcustomer.example"]]


def test_refused_values_are_counted_once_also_when_a_batch_is_read_again(tmp_path: Path) -> None:
    connector = open_feed(tmp_path, ["1,4.9E+12,ann@example.com,guest,,", "2,,,guest,,", "3,,x,,,"])
    [stream] = connector.list_streams({})
    deduplication = StreamDeduplication(None, connector.describe_stream(stream))
    metrics = ConnectorMetrics("contacts", [], datetime.now(UTC))
    before = [count_refused(*each) for each in (("phone", "exponent"), ("user_id", "placeholder"), ("email", "malformed"))]
    for _ in range(2):
        metrics.count_records(select_all(connector, deduplication))
    after = [count_refused(*each) for each in (("phone", "exponent"), ("user_id", "placeholder"), ("email", "malformed"))]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2, 1]


def test_preview_shows_refused_values_source_spelling_traits_and_missing_authentication(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = ["1,0151 1234567,guest,,,Ann", "2,,,guest,,"]
    show_preview(open_feed(tmp_path, rows, region="DE", verified=False), 5)
    shown = capsys.readouterr().out
    for text in (
        "phone +491511234567 (source: 0151 1234567)",
        "email refused: placeholder",
        "given_name Ann",
        "not verified",
        "refused: user_id (placeholder)",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("settings", "verified"),
    [
        ({"protocol": "snowplow"}, False),
        ({"protocol": "snowplow", "verified": True}, True),
        ({"protocol": "segment"}, None),
        ({"protocol": "segment", "verified": False}, False),
    ],
)
def test_endpoint_without_key_is_not_verified_unless_set(settings: dict[str, Any], verified: object) -> None:
    assert Endpoint.model_validate({"system": "site", **settings}).verified is verified
