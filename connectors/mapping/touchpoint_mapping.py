"""Declarative mapping: one compiled expression per field of a touchpoint, then validation by the model of its event family.

Pure: the same record and settings give the same touchpoint. Each failure is a RecordError that names the field and the expected
value, never the value itself.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, ValidationError

from connectors.mapping.expressions import Expression, compile_expression, evaluate
from connectors.mapping.functions import to_identifier, to_text
from schemas.errors import ConfigError, RecordError
from schemas.records.families import FAMILIES
from schemas.records.identifiers import identify
from schemas.records.touchpoint import MAX_CLOCK_SKEW, MIN_OCCURRED_AT, Touchpoint, event_id

OWN_FIELDS = frozenset({"event_id", "source", "system", "connector", "received_at"})
GROUPS = frozenset({"identifiers", "attributes"})
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

    `fields` maps each field name to an expression, `identifiers` and `attributes` to one expression per entry. `where` is the
    place that errors name.
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
    ) -> None:
        self.model = FAMILIES[source]
        self.prefix = f"{feed}:"
        self.fixed = {"system": system, "connector": connector}
        self.system = system
        _check_fields(self.model, fields, where)
        compiled = {name: _compile(name, text, columns, f"{where}.{name}") for name, text in fields.items()}
        self.fields = [one for name, group in compiled.items() if name not in GROUPS for one in group]
        self.identifiers = compiled["identifiers"]
        self.attributes = compiled.get("attributes", [])

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
            fields["identifiers"] = self._identifiers(data)
            fields["event_id"] = event_id(self.system, self.prefix + key, version)
            return self.model.model_validate(fields)
        except ValidationError as error:
            raise to_record_error(error) from None
        except UnicodeEncodeError:
            raise RecordError("invalid_utf8", "key or version holds a lone surrogate, which is invalid UTF-8") from None

    def _identifiers(self, data: dict[str, Any]) -> list[Any]:
        values = {}
        for name, expression in self.identifiers:
            value = evaluate(expression, data, f"identifiers.{name}")
            values[name] = value if value is None or isinstance(value, str) else to_identifier(value)
        identifiers = identify(self.system, values)
        if not identifiers:
            raise RecordError("missing_identifier", f"none of {', '.join(values)} holds a value that identifies a customer")
        return identifiers


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
    required = {name for name in usable if model.model_fields[name].is_required()}
    if missing := sorted(required - fields.keys()):
        raise ConfigError(f"{where}: {source} also needs {', '.join(missing)}")


def _compile(name: str, spec: str | Mapping[str, str], columns: frozenset[str], where: str) -> list[tuple[str, Expression]]:
    entries = {name: spec} if isinstance(spec, str) else spec
    return [(one, compile_expression(text, columns, where if one == name else f"{where}.{one}")) for one, text in entries.items()]
