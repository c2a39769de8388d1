"""Settings that stand next to `system`, with the same names in every connector: country, programme, placeholders, trust."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from schemas.records.fields import Name
from schemas.records.normalisation.rules import IdentifierRules


def _read_norway(value: Any) -> Any:
    """Return the country `NO`, which YAML reads as false."""
    return "NO" if value is False else value


def _check_region(region: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS  # 30 ms and 3 MB that few processes need

    if region not in SUPPORTED_REGIONS:
        raise ValueError("must be a country of two capital letters, such as DE")
    return region


Region = Annotated[str, BeforeValidator(_read_norway), AfterValidator(_check_region)]
Placeholder = Annotated[str, Field(min_length=1, max_length=200)]


class IdentifierSettings(BaseModel):
    """Settings of the identifiers of a feed."""

    region: Region | None = Field(
        default=None,
        description="Country of phone numbers without a country code, such as `DE`. Without it they belong to `system`.",
    )
    programme: Name | None = Field(
        default=None,
        description="Loyalty programme of `loyalty` numbers, the same for all systems that take part. Default: `system`.",
    )
    placeholders: tuple[Placeholder, ...] = Field(
        default=(),
        description="Further values that identify no one. `*` stands for any characters; `!value` accepts a value again.",
    )
    verified: bool | None = Field(
        default=None,
        description="False if anyone can send any identifier to the source: its records then never join two known customers."
        " Default: true, but false for `snowplow`.",
    )

    @property
    def identifier_rules(self) -> IdentifierRules:
        """The rules for the normalisation."""
        return IdentifierRules(self.region, self.programme, self.placeholders)

    def identifier_settings(self) -> dict[str, Any]:
        """Return these settings alone, for a mapping that takes them over."""
        return {name: getattr(self, name) for name in IdentifierSettings.model_fields}
