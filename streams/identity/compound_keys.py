"""Compound keys as the setting `TOUCHLINE_IDENTITY_COMPOUND_KEYS` writes them.

The setting is empty, the name of a preset (`streams/identity/<preset>.yaml`) or a list in YAML or JSON:

    - {name: names_postcode, fields: ["given_name+surname:soundex", "postcode"], priority: 1, confidence: 0.95}

A field is `trait` or `trait:form` (`streams/identity/forms.py`). `trait+trait` takes both values in alphabetical order.
"""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from schemas.service.settings import EnvironmentSettings
from streams.identity.compound import CompoundKey, Piece
from streams.identity.forms import FORMS

PRESETS = ("people",)
MAX_KEYS = 16
NAME = r"^[a-z][a-z0-9_]{0,30}$"


class _Entry(BaseModel):
    """One key of the list. Without `priority`, its place in the list counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=NAME)]
    fields: Annotated[list[str], Field(min_length=2, max_length=6)]
    priority: Annotated[int, Field(ge=0)] | None = None
    confidence: Annotated[float, Field(gt=0, le=1)] = 0.9


class CompoundSettings(EnvironmentSettings):
    """Setting of the compound keys, the same for all workers of a group. A change needs a rebuild of all customers."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_IDENTITY_", frozen=True)

    compound_keys: Annotated[
        str,
        Field(
            description="Keys that join touchpoints by traits such as name and birth date: the preset `people`, or a list in YAML"
            " or JSON, as in `streams/identity/people.yaml`. Empty uses none."
        ),
    ] = ""

    @field_validator("compound_keys")
    @classmethod
    def _check_keys(cls, value: str) -> str:
        parse_keys(value)
        return value

    def load_keys(self) -> tuple[CompoundKey, ...]:
        """Return the keys, the strongest first."""
        return parse_keys(self.compound_keys)


_entries: TypeAdapter[list[_Entry]] = TypeAdapter(list[_Entry])


def parse_keys(text: str) -> tuple[CompoundKey, ...]:
    """Return the keys of the setting, the strongest first. Raises ValueError, which names the wrong part."""
    if text.strip() in PRESETS:
        text = Path(__file__).with_name(f"{text.strip()}.yaml").read_text()
    try:
        entries = _entries.validate_python(yaml.safe_load(text) or [])
    except yaml.YAMLError:
        raise ValueError(f"write the name of a preset ({', '.join(PRESETS)}) or a list in YAML or JSON") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'list'}: {first['msg']}") from None
    if len(entries) > MAX_KEYS:
        raise ValueError(f"{len(entries)} keys: use at most {MAX_KEYS}, because a touchpoint has a node for each of them")
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("two keys have one name: give each its own")
    keys = [_build_key(place, entry) for place, entry in enumerate(entries)]
    return tuple(sorted(keys, key=lambda key: key.priority))


def _build_key(place: int, entry: _Entry) -> CompoundKey:
    pieces = tuple(_read_piece(field) for field in entry.fields)
    return CompoundKey(entry.name, pieces, place if entry.priority is None else entry.priority, entry.confidence)


def _read_piece(field: str) -> Piece:
    names, _, form = field.partition(":")
    traits = tuple(name.strip() for name in names.split("+"))
    if not all(traits) or (form or "text") not in FORMS:
        raise ValueError(f"field {field!r}: write trait:form, with one of the forms {', '.join(FORMS)}")
    return Piece(traits, form or "text")
