"""The schemas of every record on Kafka: frozen files `schemas/avsc/<name>-<version>.avsc`, numbered in `avsc/ids.json`.

The numbers are the Confluent wire format's schema ids, from this committed file until a registry takes over.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from pydantic import BaseModel

from schemas.connector_state import ConnectorState
from schemas.dead_letter import DeadLetter
from schemas.families import FAMILIES
from schemas.readings import Journey, Reading
from schemas.resolved import Edge, Merge, Moved, Resolved, Tick

FOLDER = Path(__file__).parent / "avsc"
MODELS: dict[str, type[BaseModel]] = {
    **FAMILIES,
    "resolved": Resolved,
    "edge": Edge,
    "merge": Merge,
    "moved": Moved,
    "tick": Tick,
    "reading": Reading,
    "journey": Journey,
    "connector_state": ConnectorState,
    "dead_letter": DeadLetter,
}


@cache
def ids() -> dict[int, str]:
    """Schema id to `name-version`."""
    return {int(key): name for key, name in json.loads((FOLDER / "ids.json").read_text()).items()}


@cache
def newest() -> dict[str, int]:
    """Schema name to the id of its newest frozen version: what is written."""
    found: dict[str, int] = {}
    for schema_id, versioned in sorted(ids().items()):
        found[versioned.rpartition("-")[0]] = schema_id
    return found


def frozen(schema_id: int) -> dict[str, Any]:
    """The schema as it was released. Raises KeyError for an id that was never given."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{ids()[schema_id]}.avsc").read_text())
    return schema


@cache
def parsed(schema_id: int) -> Any:
    """The frozen schema as fastavro wants it."""
    return parse_schema(frozen(schema_id), named_schemas={})
