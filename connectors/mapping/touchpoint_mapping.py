"""Declarative mapping: one compiled expression per field of a touchpoint, then validation by the model of its event family.

Pure: the same record and settings give the same touchpoint. Each failure is a RecordError that names the field and the expected
value, never the value itself.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, ValidationError

from connectors.errors import MissingIdentifierError
from connectors.mapping.expressions import Expression, compile_expression, evaluate
from connectors.mapping.functions import to_identifier, to_text
from connectors.mapping.identifier_settings import IdentifierSettings
from schemas.errors import ConfigError, RecordError
from schemas.records.families import FAMILIES
from schemas.records.fields import NAME
from schemas.records.identifiers import Identifier
from schemas.records.normalisation.refusal import RefusedIdentifier
from schemas.records.normalisation.rules import identify
from schemas.records.touchpoint import MAX_CLOCK_SKEW, MIN_OCCURRED_AT, Touchpoint, event_id

OWN_FIELDS = frozenset({"event_id", "source", "system", "connector", "received_at", "verified"})
GROUPS = frozenset({"identifiers", "attributes", "traits"})
MAX_TRAIT_CHARACTERS = 200
ALL_RULES = IdentifierSettings()
MAX_SHOWN_ERRORS = 3
MESSAGES: dict[str, tuple[str, str]] = {
    "missing": ("missing_field", "is required, but its expression gives no value"),
    "string_too_long": ("too_long", "has more than {max_length} characters"),
    "too_long": ("too_long", "has more than {max_length} entries"),
    "string_too_short": ("missing_field", "is empty"),
    "string_pattern_mismatch": ("wrong_type", "must look like {pattern}"),
    "string_type": ("wrong_type", "must be a text: wrap it in id()"),
    "string_unicode": ("invalid_utf8", "holds a lone surrogate, which is invalid UTF-8"),
    "enum": ("wrong_type", "must be {expected}"),
    "literal_error": ("wrong_type", "must be {expected}"),
    "decimal_max_places": ("wrong_type", "has more than {decimal_places} decimals"),
    "decimal_max_digits": ("wrong_type", "has more than {max_digits} digits"),
    "decimal_whole_digits": ("wrong_type", "has more than {whole_digits} digits before the point"),
    "timezone_aware": ("wrong_type", "must be a time with its zone: wrap it in iso(..., zone)"),
    "value_error": ("out_of_range", "{error}"),
}


def _check_family(source: str) -> str:
    if source not in FAMILIES:
        raise ValueError(f"must be one of {', '.join(FAMILIES)}")
    return source


Family = Annotated[str, AfterValidator(_check_family)]


class TouchpointMapping:
    """Mapping of one feed's records to touchpoints of one event family.

    `fields` maps each field name to an expression, `identifiers`, `traits` and `attributes` to one expression per entry. `where`
    is the place that errors name. `settings` are those of the identifiers.
    """

    def __init__(
        self,
        *,
        connector: str,
        feed: str,
        where: str,
        source: str,
        system: str,
        columns: frozenset[str],
        fields: Mapping[str, str | Mapping[str, str]],
        settings: IdentifierSettings = ALL_RULES,
    ) -> None:
        self.model = FAMILIES[source]
        self.prefix = f"{feed}:"
        self.fixed: dict[str, Any] = {"system": system, "connector": connector}
        if settings.verified is False:
            self.fixed["verified"] = False
        self.rules = settings.identifier_rules
        self.system = system
        _check_fields(self.model, fields, where)
        compiled = {name: _compile(name, text, columns, f"{where}.{name}") for name, text in fields.items()}
        self.fields = [one for name, group in compiled.items() if name not in GROUPS for one in group]
        self.identifiers = compiled["identifiers"]
        self.attributes = compiled.get("attributes", [])
        self.traits = compiled.get("traits", [])

    def create_touchpoint(
        self, key: str, version: str, data: dict[str, Any], read_at: datetime, extra: Mapping[str, Any]
    ) -> Touchpoint:
        """Return the touchpoint of one record; `extra` holds attributes in addition to the mapped ones. Raises RecordError."""
        fields: dict[str, Any] = {"received_at": read_at, **self.fixed}
        for name, expression in self.fields:
            value = evaluate(expression, data, name)
            if value is not None:
                fields[name] = value
        _check_time(fields.get("occurred_at"), read_at)
        attributes = {name: evaluate(expression, data, f"attributes.{name}") for name, expression in self.attributes}
        fields["attributes"] = {
            name: to_text(value) for name, value in (*attributes.items(), *extra.items()) if value is not None
        }
        try:
            fields["identifiers"], refused = self._identify(data)
            fields["traits"] = self._read_traits(data, refused)
            fields["event_id"] = event_id(self.system, self.prefix + key, version)
            return self.model.model_validate(fields).set_refused(refused)
        except ValidationError as error:
            raise to_record_error(error) from None
        except UnicodeEncodeError:
            raise RecordError("invalid_utf8", "key or version holds a lone surrogate, which is invalid UTF-8") from None

    def _identify(self, data: dict[str, Any]) -> tuple[list[Identifier], list[RefusedIdentifier]]:
        """Return the identifiers and the refused values. Raises RecordError if there is no identifier."""
        values = {name: _evaluate_text(expression, data, f"identifiers.{name}") for name, expression in self.identifiers}
        identifiers, refused = identify(self.system, values, self.rules)
        if not identifiers:
            raise MissingIdentifierError(values, refused)
        return identifiers, refused

    def _read_traits(self, data: dict[str, Any], refused: list[RefusedIdentifier]) -> dict[str, str] | None:
        """Return the traits with a value. A trait that is no text or too long is refused; it does not reject the record."""
        traits = {}
        for name, expression in self.traits:
            try:
                text = (_evaluate_text(expression, data, f"traits.{name}") or "").strip()
                text.encode()
            except (RecordError, UnicodeEncodeError):
                refused.append(RefusedIdentifier(name, "malformed"))
                continue
            if len(text) > MAX_TRAIT_CHARACTERS:
                refused.append(RefusedIdentifier(name, "too_long"))
            elif text:
                traits[name] = text
        return traits or None


def _evaluate_text(expression: Expression, data: dict[str, Any], field: str) -> str | None:
    value = evaluate(expression, data, field)
    return value if value is None or isinstance(value, str) else to_identifier(value)


def to_record_error(error: ValidationError) -> RecordError:
    """Convert the first errors of pydantic, each with its field and the expected value, without values of the record."""
    errors = error.errors(include_input=False, include_url=False)
    reasons, details = zip(*(_describe(one) for one in errors[:MAX_SHOWN_ERRORS]), strict=True)
    return RecordError(reasons[0], "; ".join(details))


def _describe(error: Any) -> tuple[str, str]:
    reason, text = MESSAGES.get(error["type"], ("wrong_type", f"must be a valid {error['type'].partition('_')[0]}"))
    field = ".".join(str(part) for part in error["loc"] if part != "[key]")
    detail = text.format_map(error.get("ctx", {}))
    return reason, f"field {field} {detail}" if field else detail


def _check_time(at: Any, read_at: datetime) -> None:
    if isinstance(at, datetime) and at.tzinfo is not None and not MIN_OCCURRED_AT <= at <= read_at + MAX_CLOCK_SKEW:
        raise RecordError("absurd_date", "field occurred_at lies before 1970 or more than a day in the future")


def _check_fields(model: type[Touchpoint], fields: Mapping[str, Any], where: str) -> None:
    source = get_args(model.model_fields["source"].annotation)[0]
    usable = model.model_fields.keys() - OWN_FIELDS
    for name, value in fields.items():
        if name not in usable:
            raise ConfigError(f"{where}: {source} has no field {name}; it has {', '.join(sorted(usable))}")
        if isinstance(value, str) is (name in GROUPS):
            raise ConfigError(
                f"{where}.{name}: must be {'a mapping of names to expressions' if name in GROUPS else 'one expression'}"
            )
    for group in ("identifiers", "traits"):
        for name in fields.get(group, ()):
            if not all(re.fullmatch(NAME, part) for part in name.split("@", 1)):
                raise ConfigError(f"{where}.{group}.{name}: a name holds the letters a to z, digits, - and _")
    required = {name for name in usable if model.model_fields[name].is_required()}
    if missing := sorted(required - fields.keys()):
        raise ConfigError(f"{where}: {source} also needs {', '.join(missing)}")


def _compile(name: str, spec: str | Mapping[str, str], columns: frozenset[str], where: str) -> list[tuple[str, Expression]]:
    entries = {name: spec} if isinstance(spec, str) else spec
    return [(one, compile_expression(text, columns, where if one == name else f"{where}.{one}")) for one, text in entries.items()]
