"""Files in a folder: the shortest lag of all sources, without an installation."""

from pathlib import Path

import pytest

from tests.harness.connectors import write_orders, write_settings
from tests.live.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.live]


def test_order_in_file_moves_risk_of_customer(line: Line, tmp_path: Path) -> None:
    settings = write_settings(tmp_path, "live-files")
    drop = tmp_path / "drops" / "orders.csv"
    with line.connect("files", settings):
        found = line.measure_lag("files", "sap", "an order appears in a drop", lambda: write_orders(drop, 1, 1))
    assert 0 < found.touchpoint <= found.score
