"""Settings of one Kafka cluster that Debezium writes to: its topics, and the mapping of their changes to touchpoints."""

from typing import Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.mapping.identifier_settings import IdentifierSettings
from connectors.settings import secret_variable
from schemas.records.families import FAMILIES
from schemas.records.fields import Name
from schemas.service.connection import KafkaConnection, KafkaSecurity, KafkaSettings

Map = dict[str, str | dict[str, str]]


class Topic(IdentifierSettings):
    """The changes of one table. Expressions can read `op`, `key`, `before`, `after` and `source`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str = Field(min_length=1, description="Name of the topic: `<topic.prefix>.<schema>.<table>`.")
    source: str = Field(description="Event family of the touchpoints.")
    system: Name = Field(description="Product that the rows come from; part of every event id.")
    replica_identity: Literal["default", "full"] = Field(
        default="default", description="`full` if the database sends the complete previous row."
    )
    snapshot: bool = Field(default=False, description="Publish a change only if its touchpoint has changed.")
    map: Map = Field(description="Field of the event family to JMESPath expression.")
    snapshot_map: Map | None = Field(default=None, description="Mapping of snapshot rows; without it they are skipped.")

    @field_validator("source")
    @classmethod
    def _check_family(cls, source: str) -> str:
        if source not in FAMILIES:
            raise ValueError(f"must be one of {', '.join(FAMILIES)}")
        return source


class SourceCluster(KafkaConnection):
    """A cluster other than Touchline's own. Its settings are in the settings file, and its secrets in the environment."""

    instance: str

    def setting(self, field: str) -> str:
        is_secret = KafkaSecurity.model_fields[field].annotation is SecretStr if field in KafkaSecurity.model_fields else False
        return secret_variable(self.instance, field) if is_secret else field


class DebeziumSettings(KafkaSecurity, BaseSettings):
    """Settings of the `debezium` connector. Those of security count for another cluster than Touchline's own."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Instance name: label of metrics, `connector` of every touchpoint, key of the saved cursors.")
    bootstrap_servers: str | None = Field(default=None, description="Brokers of the cluster. Default: Touchline's own cluster.")
    format: Literal["json", "avro"] = Field(
        default="json", description="`json` with or without its schema, or `avro` in the Confluent wire format."
    )
    registry: str | None = Field(default=None, description="Avro: address of the schema registry.")
    registry_username: str | None = Field(default=None, description="Avro: user of the schema registry.")
    registry_password: SecretStr = Field(
        default=SecretStr(""), description="Password of the registry; only from the environment."
    )
    unwrapped: bool = Field(default=False, description="True if the values passed the transform ExtractNewRecordState.")
    start: AwareDatetime | None = Field(default=None, description="Live mode skips changes with an older Kafka timestamp.")
    poll_seconds: float = Field(default=1, gt=0, description="Pause between two rounds, in seconds.")
    timeout_seconds: float = Field(
        default=30, gt=0, description="Longest silence of a partition with unread records, in seconds."
    )
    batch: int = Field(default=2_000, ge=1, le=2_000, description="Changes per published batch.")
    topics: dict[Name, Topic] = Field(min_length=1, description="Topics by feed name; the name is part of every event id.")

    @model_validator(mode="after")
    def _check_registry(self) -> Self:
        if (self.format == "avro") != bool(self.registry):
            raise ValueError("registry: `format: avro` needs the address of a schema registry, and `format: json` has none")
        return self

    @property
    def kafka(self) -> KafkaConnection:
        """The connection to the cluster. Touchline's own credentials are never sent to another cluster."""
        if self.bootstrap_servers is None:
            return KafkaSettings()
        security = {field: getattr(self, field) for field in KafkaSecurity.model_fields}
        return SourceCluster(instance=self.name, bootstrap_servers=self.bootstrap_servers, **security)
