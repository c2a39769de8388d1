"""The settings file of the `intake` connector: one server, and its endpoints, each one protocol, one system, one family.

The keys of an endpoint come from the environment: several are active at once, separated by commas, so that they can be changed
without a pause. Endpoint `app` of the instance `shop` has them in `TOUCHLINE_SHOP_APP_KEYS`.
"""

import os
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from connectors.intake.schemes import SCHEMES
from connectors.settings import secret_variable
from schemas.errors import ConfigError
from schemas.records.fields import Name

Expression = Annotated[str, Field(min_length=1)]
OPEN = frozenset({"snowplow"})


class Endpoint(BaseModel):
    """What is sent in one protocol. `source`, `map` and `key` replace or add to what `mapping.yaml` says of the protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["segment", "snowplow", "cloudevents", "standard", "shopify", "zendesk", "hubspot", "github", "stripe"]
    system: Name
    source: str | None = None
    key: Expression | None = None
    map: dict[str, Expression | dict[str, Expression]] = Field(default_factory=dict)
    events_per_minute: int | None = Field(default=None, ge=1)

    @property
    def mapping(self) -> str:
        """The entry of `mapping.yaml` that it begins from: all signed webhooks share one."""
        return "webhook" if self.protocol in SCHEMES else self.protocol


class IntakeSettings(BaseModel):
    """One server. Sizes are bytes: `most_body` of one request unpacked, `most_waiting` of all that are not acknowledged yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65_535)
    public_url: str | None = None
    origins: list[str] = Field(default_factory=list)
    most_body: int = Field(default=512_000, ge=65_536)
    most_waiting: int = Field(default=16_777_216)
    answer_seconds: float = Field(default=10, gt=0)
    retry_seconds: int = Field(default=2, ge=1)
    endpoints: dict[Name, Endpoint] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_collector(self) -> Self:
        if sum(endpoint.protocol == "snowplow" for endpoint in self.endpoints.values()) > 1:
            raise ValueError("endpoints: a Snowplow tracker names no endpoint, so there can be one of them")
        if self.most_waiting < 2 * self.most_body:
            raise ValueError("most_waiting must hold at least two requests of most_body")
        return self


def keys(name: str, endpoint: str) -> list[SecretStr]:
    """The active keys of an endpoint of the instance `name`. Raises ConfigError where there are none."""
    wanted = secret_variable(name, f"{endpoint.replace('-', '_')}_keys")
    found = [one.strip() for one in os.environ.get(wanted, "").split(",") if one.strip()]
    if not found:
        raise ConfigError(f"endpoints.{endpoint}: set the environment variable {wanted} to its key; to several with commas")
    return [SecretStr(one) for one in found]
