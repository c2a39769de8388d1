"""Settings of the identity map, read from environment variables `TOUCHLINE_IDENTITY_…`."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from schemas.service.settings import EnvironmentSettings

PRIORITY = "erp_party,crm_contact,national_id,user_id,account,member,loyalty,email,phone"
ANONYMOUS_KINDS = "anonymous_id,device,cookie,session,domain_user_id,network_user_id"
LIMITS = "erp_party=1,crm_contact=3,email=5,phone=5"


class IdentitySettings(EnvironmentSettings):
    """Settings that must be the same for all workers of a group. A change needs a rebuild of all customers."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_IDENTITY_", frozen=True, extra="ignore")

    priority: Annotated[
        str, Field(description="Kinds of identifiers, the strongest first. A customer is named after its strongest identifier.")
    ] = PRIORITY
    anonymous_kinds: Annotated[
        str, Field(description="Kinds that follow a customer and never join two: cookies, devices, sessions.")
    ] = ANONYMOUS_KINDS
    merge_kinds: Annotated[
        str, Field(description="Kinds that may join customers; empty allows every kind that is not anonymous.")
    ] = ""
    limits: Annotated[
        str,
        Field(
            description="Maximum number of identifiers of a kind that a customer may have, for each system that issues them. An"
            " identifier that is seen with more of them identifies no single customer and links nothing."
        ),
    ] = LIMITS
    default_limit: Annotated[int, Field(ge=1, le=100, description="Limit of every kind that LIMITS does not name.")] = 5
    anonymous_limit: Annotated[
        int,
        Field(ge=1, le=100, description="Maximum number of known identifiers of one kind that an anonymous one is seen with."),
    ] = 5
    anonymous_neighbours: Annotated[
        int, Field(ge=1, le=500, description="Maximum number of anonymous identifiers that an anonymous one is seen with.")
    ] = 100
    anonymous_days: Annotated[
        int,
        Field(ge=1, description="Days after which a worker's copy forgets an anonymous identifier that never met a known one."),
    ] = 90

    @field_validator("limits")
    @classmethod
    def _check_limits(cls, value: str) -> str:
        parse_limits(value)
        return value


def parse_kinds(value: str) -> tuple[str, ...]:
    """Return the kinds of a list that is separated by commas."""
    return tuple(kind.strip() for kind in value.split(",") if kind.strip())


def parse_limits(value: str) -> dict[str, int]:
    """Return the limit of each kind of a list such as `email=5,erp_party=1`. Raises ValueError."""
    limits = {}
    for entry in parse_kinds(value):
        kind, _, limit = entry.partition("=")
        if not limit.strip().isdecimal() or not 1 <= int(limit) <= 100:
            raise ValueError("write kind=number, separated by commas, with numbers from 1 to 100")
        limits[kind.strip()] = int(limit)
    return limits
