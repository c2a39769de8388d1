"""Settings of the `intake` connector: one server; each of its endpoints has one protocol, one system and one event family.

The keys of an endpoint come from the environment, separated by commas. Several keys are active at once, so that they can be
rotated without an interruption. `TOUCHLINE_SHOP_APP_KEYS` holds the keys of endpoint `app` of the instance `shop`.
"""

import os
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from connectors.intake.schemes import SCHEMES
from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import secret_variable
from schemas.errors import ConfigError
from schemas.records.fields import Name

Expression = Annotated[str, Field(min_length=1)]
KEYLESS_PROTOCOLS = frozenset({"snowplow"})


class Endpoint(IdentifierSettings):
    """One endpoint. `source`, `map` and `key` override the protocol's entry in `mapping.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["segment", "snowplow", "cloudevents", "standard", "shopify", "zendesk", "hubspot", "github", "stripe"] = (
        Field(description="Protocol of the senders.")
    )
    system: Name = Field(description="Product that sends the events; part of every event id and owner of its user ids.")
    source: str | None = Field(default=None, description="Event family. Default: web for `segment` and `snowplow`.")
    key: Expression | None = Field(default=None, description="JMESPath: key of a record. Default: the protocol's event id.")
    map: dict[str, Expression | dict[str, Expression]] = Field(
        default_factory=dict, description="Fields of the event family to JMESPath; they override those of `mapping.yaml`."
    )
    events_per_minute: int | None = Field(default=None, ge=1, description="Quota of each key; above it the server answers 429.")

    @model_validator(mode="before")
    @classmethod
    def _distrust_keyless(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("verified") is None and data.get("protocol") in KEYLESS_PROTOCOLS:
            return {**data, "verified": False}
        return data

    @property
    def mapping(self) -> str:
        """The entry of `mapping.yaml` that the endpoint extends; all signed webhooks share one."""
        return "webhook" if self.protocol in SCHEMES else self.protocol


class IntakeSettings(BaseModel):
    """Settings of one server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Instance name: label of metrics, `connector` of every touchpoint.")
    host: str = Field(default="127.0.0.1", description="Address to listen at; a proxy in front of it terminates TLS.")
    port: int = Field(default=8090, ge=0, le=65_535, description="Port to listen at.")
    public_url: str | None = Field(default=None, description="Address as senders know it. Default: `http://<host>:<port>`.")
    origins: list[str] = Field(
        default_factory=list, description="Web pages whose browsers may send cross-origin requests, also with credentials."
    )
    max_body_bytes: int = Field(default=512_000, ge=65_536, description="Largest body of one request after decompression.")
    max_waiting_bytes: int = Field(
        default=16_777_216,
        description="Largest total of the requests without an acknowledgement; above it the server answers 503.",
    )
    answer_seconds: float = Field(
        default=10, gt=0, description="Longest time for a body to arrive, and then for Kafka's acknowledgement, in seconds."
    )
    retry_seconds: int = Field(default=2, ge=1, description="`Retry-After` of an answer 503, in seconds.")
    endpoints: dict[Name, Endpoint] = Field(min_length=1, description="Endpoints by name; the name is part of every event id.")

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if sum(endpoint.protocol == "snowplow" for endpoint in self.endpoints.values()) > 1:
            raise ValueError("endpoints: a Snowplow tracker names no endpoint, so there can be only one Snowplow endpoint")
        if self.max_waiting_bytes < 2 * self.max_body_bytes:
            raise ValueError("max_waiting_bytes must be at least twice max_body_bytes")
        return self


def read_keys(name: str, endpoint: str) -> list[SecretStr]:
    """Return the active keys of an endpoint of the instance `name`. Raises ConfigError if there are none."""
    variable = secret_variable(name, f"{endpoint.replace('-', '_')}_keys")
    keys = [one.strip() for one in os.environ.get(variable, "").split(",") if one.strip()]
    if not keys:
        raise ConfigError(
            f"endpoints.{endpoint}: set the environment variable {variable} to its key; separate several keys by commas"
        )
    return [SecretStr(one) for one in keys]
