"""Derives Avro schemas from the pydantic models, so that each field is declared in one place only.

The libraries for this emit logical types, which decode 1.5 times slower (`schemas/records/fields.py`).
"""

import types
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

PLAIN: dict[type, Any] = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "bytes",
    datetime: "long",
    AwareDatetime: "long",
    Decimal: "long",
    UUID: {"type": "fixed", "size": 16, "name": "Id"},
}


def derive(model: type[BaseModel]) -> dict[str, Any]:
    """Return the Avro record schema of a model. Optional fields default to null, so that adding one stays compatible."""
    return _record(model, set())


def _record(model: type[BaseModel], named: set[str]) -> dict[str, Any]:
    doc = (model.__doc__ or "").strip().splitlines()[0]
    fields = [_field(name, info, named) for name, info in model.model_fields.items()]
    return {"type": "record", "name": model.__name__, "namespace": "touchline", "doc": doc, "fields": fields}


def _field(name: str, info: FieldInfo, named: set[str]) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name, "type": _type(info.annotation, named)}
    if isinstance(field["type"], list) and field["type"][0] == "null":
        field["default"] = None
    return field


def _type(annotation: Any, named: set[str]) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__, named)
    if origin in (Union, types.UnionType):
        return ["null", *(_type(one, named) for one in arguments if one is not type(None))]
    if origin is Literal:
        return "string"
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], named)}
    if origin is dict:
        return {"type": "map", "values": _type(arguments[1], named)}
    if issubclass(annotation, BaseModel):
        return _define_once(annotation.__name__, _record(annotation, named), named)
    if issubclass(annotation, Enum):
        return "string"
    plain = PLAIN[annotation]
    return _define_once(plain["name"], plain, named) if isinstance(plain, dict) else plain


def _define_once(name: str, schema: dict[str, Any], named: set[str]) -> Any:
    """Return a named type in full at its first use, and its name after that."""
    if name in named:
        return f"touchline.{name}"
    named.add(name)
    return schema
