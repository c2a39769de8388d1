"""Maps the demo's drops with the real `files` connector."""

from collections.abc import Iterator
from pathlib import Path

from connectors.contract import Record
from connectors.settings import open_connector
from schemas.records.touchpoint import Touchpoint

DEMO = Path(__file__).parents[2] / "deploy" / "demo"


def map_drops(drops: Path) -> Iterator[tuple[str, Touchpoint]]:
    """Yield feed and touchpoint of every row below a drop folder, mapped by the real connector with the demo's settings."""
    connector = open_connector("files", DEMO / "telecom.yaml", {"root": drops})
    for stream in connector.list_streams({}):
        for batch in connector.read(stream, None):
            for record in batch.records:
                assert isinstance(record, Record), f"{stream} has a row that cannot be read"
                yield stream.partition(":")[0], connector.map_record(record)
