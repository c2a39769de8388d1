"""CDNOW: the published counts are checked, and each line becomes an order, repeated lines included."""

from pathlib import Path

import pytest

from connectors.contract import Record
from connectors.settings import open_connector
from deploy.demo.cdnow import CUSTOMERS, SETTINGS, TRANSACTIONS, verify
from schemas.errors import ConfigError
from schemas.records.identifiers import Identifier
from schemas.records.normalisation.rules import RULES_VERSION

HEADER = b" customer_id  date number_of_cds  dollar_value\r\n"
LINE = b" 00001 19970101  1   11.77\r\n"


def test_file_with_other_counts_is_refused_with_next_step() -> None:
    with pytest.raises(ConfigError, match="remove that folder and run `touchline demo` again"):
        verify(HEADER + LINE, Path("somewhere"))


def test_file_with_published_counts_is_accepted() -> None:
    lines = [f" {number % CUSTOMERS:05d} 19970101  1   11.77\r\n" for number in range(TRANSACTIONS)]
    verify(HEADER + "".join(lines).encode(), Path("somewhere"))


def test_repeated_purchases_are_separate_events(tmp_path: Path) -> None:
    (tmp_path / "CDNOW_master.txt").write_bytes(HEADER + LINE + LINE + b" 00002 19980630  5  164.00\r\n")
    connector = open_connector("files", SETTINGS, {"root": tmp_path})
    (stream,) = connector.list_streams({})
    records = [record for batch in connector.read(stream, None) for record in batch.records]
    orders = [connector.map_record(record) for record in records if isinstance(record, Record)]
    assert len({order.event_id for order in orders}) == len(records) == 3
    assert [order.occurred_at.date().isoformat() for order in orders] == ["1997-01-01", "1997-01-01", "1998-06-30"]
    assert [order.model_dump()["amount"] for order in orders] == [117_700, 117_700, 1_640_000]
    assert orders[2].identifiers[0] == Identifier(kind="erp_party", value="cdnow/00002", rules=RULES_VERSION)
