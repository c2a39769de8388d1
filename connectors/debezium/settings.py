"""The settings of one Kafka cluster that Debezium writes to: its topics, and how a change of each becomes a touchpoint."""

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.records.families import FAMILIES
from schemas.records.fields import Name
from schemas.service.connection import KafkaSettings

Map = dict[str, str | dict[str, str]]


class Topic(BaseModel):
    """The changes of one table. Expressions read `op`, `key`, `before`, `after` and `source`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str = Field(min_length=1)
    source: str
    system: Name
    replica_identity: Literal["default", "full"] = "default"
    snapshot: bool = False
    map: Map
    snapshot_map: Map | None = None

    @field_validator("source")
    @classmethod
    def _known_family(cls, source: str) -> str:
        if source not in FAMILIES:
            raise ValueError(f"must be one of {', '.join(FAMILIES)}")
        return source


class DebeziumSettings(BaseSettings):
    """One cluster and its topics; without `bootstrap_servers` it is Touchline's own. `registry` is for Avro alone."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    name: Name
    bootstrap_servers: str | None = None
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: str | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr = SecretStr("")
    format: Literal["json", "avro"] = "json"
    registry: str | None = None
    registry_username: str | None = None
    registry_password: SecretStr = SecretStr("")
    unwrapped: bool = False
    start: AwareDatetime | None = None
    poll_seconds: float = Field(default=1, gt=0)
    timeout_seconds: float = Field(default=30, gt=0)
    batch: int = Field(default=2_000, ge=1, le=2_000)
    topics: dict[Name, Topic] = Field(min_length=1)

    @model_validator(mode="after")
    def _registry_goes_with_avro(self) -> Self:
        if (self.format == "avro") != bool(self.registry):
            raise ValueError("registry: the address of the schema registry goes with `format: avro`, and only with it")
        return self

    @property
    def kafka(self) -> KafkaSettings:
        """How to reach the cluster: nothing of Touchline's own credentials goes to another one."""
        if self.bootstrap_servers is None:
            return KafkaSettings()
        return KafkaSettings(
            bootstrap_servers=self.bootstrap_servers,
            security_protocol=self.security_protocol,
            ssl_cafile=self.ssl_cafile,
            sasl_mechanism=self.sasl_mechanism,
            sasl_username=self.sasl_username,
            sasl_password=self.sasl_password,
        )
