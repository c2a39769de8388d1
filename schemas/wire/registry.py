"""Schemas of all records on Kafka: frozen files `schemas/wire/avsc/<name>-<version>.avsc`, with their ids in `avsc/ids.json`.

The ids are those of the Confluent wire format. A schema registry can take over from the committed file.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from fastavro.schema import to_parsing_canonical_form
from pydantic import BaseModel

from schemas.errors import ConfigError
from schemas.records.connector_state import ConnectorState
from schemas.records.dead_letter import DeadLetter, Replay
from schemas.records.families import FAMILIES
from schemas.records.identity import Conflict, Decision, Evidence, Fingerprint, Member, Route
from schemas.records.readings import Journey, Reading
from schemas.records.resolved import CustomerRevision, Edge, History, Merge, Moved, Resolved, Tick
from schemas.wire.avro import derive
from schemas.wire.reader import Reader, compile_reader

FOLDER = Path(__file__).parent / "avsc"
MODELS: dict[str, type[BaseModel]] = {
    **FAMILIES,
    "resolved": Resolved,
    "edge": Edge,
    "merge": Merge,
    "member": Member,
    "evidence": Evidence,
    "route": Route,
    "conflict": Conflict,
    "decision": Decision,
    "fingerprint": Fingerprint,
    "moved": Moved,
    "history": History,
    "customer": CustomerRevision,
    "tick": Tick,
    "reading": Reading,
    "journey": Journey,
    "connector_state": ConnectorState,
    "dead_letter": DeadLetter,
    "replay": Replay,
}


@cache
def schema_versions() -> dict[int, str]:
    """Return all schema ids with their `name-version`."""
    return {int(key): name for key, name in json.loads((FOLDER / "ids.json").read_text()).items()}


@cache
def newest_ids() -> dict[str, int]:
    """Return the id of the newest frozen version of each schema name. Writers use these versions."""
    return {versioned.rpartition("-")[0]: schema_id for schema_id, versioned in sorted(schema_versions().items())}


def load_schema(schema_id: int) -> dict[str, Any]:
    """Return the frozen schema of an id. Raises KeyError for an unknown id."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{schema_versions()[schema_id]}.avsc").read_text())
    return schema


@cache
def load_parsed_schema(schema_id: int) -> Any:
    """Return the frozen schema in the parsed form of fastavro."""
    return parse_schema(load_schema(schema_id), named_schemas={})


@cache
def get_reader(schema_id: int, wanted: Sequence[str] = ()) -> Reader:
    """Return the reader of a frozen schema, or of its `wanted` fields."""
    return compile_reader(load_schema(schema_id), wanted)


def find_changed_models() -> list[str]:
    """Return the names of models that differ from their newest frozen version. The `doc` texts are not compared."""
    return [
        name
        for name in MODELS
        if name not in newest_ids() or _canonical(derive(MODELS[name])) != _canonical(load_schema(newest_ids()[name]))
    ]


def _canonical(schema: dict[str, Any]) -> str:
    return str(to_parsing_canonical_form(schema))


def register(name: str) -> str:
    """Freeze a model as a new version with a new id, and return its `name-version`.

    Raises ConfigError if the new version cannot read the records of an older one.
    """
    schema = derive(MODELS[name])
    before = [schema_id for schema_id, versioned in schema_versions().items() if versioned.rpartition("-")[0] == name]
    for schema_id in before:
        for field in find_unreadable_fields(load_schema(schema_id), schema):
            raise ConfigError(f"{name}: records of {schema_versions()[schema_id]} have no field {field}: give it a default")
    versioned = f"{name}-{len(before) + 1}"
    (FOLDER / f"{versioned}.avsc").write_text(json.dumps(schema, indent=1) + "\n")
    numbered = {**schema_versions(), max(schema_versions(), default=0) + 1: versioned}
    (FOLDER / "ids.json").write_text(json.dumps({str(key): value for key, value in sorted(numbered.items())}, indent=1) + "\n")
    schema_versions.cache_clear()
    newest_ids.cache_clear()
    return versioned


def find_unreadable_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the fields of a new version that old records do not have and that have no default."""
    had = {field["name"] for field in old["fields"]}
    return [field["name"] for field in new["fields"] if field["name"] not in had and "default" not in field]
