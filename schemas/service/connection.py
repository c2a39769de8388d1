"""Kafka connection: its settings, and the arguments that each client library wants for it.

All clients of Touchline get their arguments here: kafka-python (connectors, deploy), aiokafka (sinks, streams) and Faust, which
takes the arguments of aiokafka as its credentials (`streams/engine/worker.py`). No setting has an effect in one client only.
"""

import re
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from schemas.errors import ConfigError
from schemas.service import tokens
from schemas.service.settings import EnvironmentSettings, check_host
from schemas.service.tls import TlsSettings

ENV_PREFIX = "TOUCHLINE_KAFKA_"
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\],]+)(:\d{1,5})?")
DEFAULT_PORT, MAX_PORT = 9092, 65_535
Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


def parse_addresses(bootstrap_servers: str) -> list[tuple[str, int]]:
    """Return host and port of each server; the port is 9092 where none is given."""
    found = []
    for server in bootstrap_servers.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not colon or port.endswith("]"):
            host, port = server.strip(), str(DEFAULT_PORT)
        found.append((host.strip("[]"), int(port) if port.isdigit() else DEFAULT_PORT))
    return found


class KafkaSecurity(TlsSettings):
    """Protocol and login of a connection. The names are those of the Kafka clients."""

    security_protocol: Protocol = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL (TLS), SASL_PLAINTEXT (login without TLS) or SASL_SSL (login over TLS)."
    )
    sasl_mechanism: Mechanism | None = Field(
        default=None, description="Login mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
    )
    sasl_username: str | None = Field(default=None, description="User name for PLAIN and SCRAM.")
    sasl_password: SecretStr = Field(default=SecretStr(""), description="Password for PLAIN and SCRAM.")
    sasl_token_command: str | None = Field(
        default=None,
        description="For OAUTHBEARER: command that prints a token. It runs without a shell, and again before the token expires.",
    )

    @property
    def is_tls(self) -> bool:
        """Return whether connections use TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def is_sasl(self) -> bool:
        """Return whether connections begin with a login."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def password(self) -> str:
        """SASL password in clear text."""
        return self.sasl_password.get_secret_value()

    def check(self) -> None:
        """Raise ConfigError for settings that contradict each other. It opens no connection and reads no file."""
        name = self.setting
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        if self.is_sasl and not mechanism:
            raise ConfigError(f"{name('security_protocol')}={protocol} needs a login mechanism: set {name('sasl_mechanism')}")
        if mechanism and not self.is_sasl:
            wanted = "SASL_SSL" if protocol == "SSL" else "SASL_SSL or SASL_PLAINTEXT"
            raise ConfigError(
                f"{name('sasl_mechanism')}={mechanism} has no effect with {name('security_protocol')}={protocol}:"
                f" set {name('security_protocol')} to {wanted}"
            )
        needed = ("sasl_token_command",) if mechanism == "OAUTHBEARER" else ("sasl_username", "sasl_password")
        for field in needed if self.is_sasl else ():
            if not getattr(self, field):
                raise ConfigError(f"{name('sasl_mechanism')}={mechanism} needs {name(field)}: set it")


class KafkaConnection(KafkaSecurity):
    """One Kafka cluster."""

    bootstrap_servers: str = Field(
        description="Addresses of some brokers: host:port, separated by commas. Not needed with a local stack."
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_addresses(cls, servers: str) -> str:
        if not all(ADDRESS.fullmatch(server.strip()) for server in servers.split(",")):
            raise ValueError("write host:port, and commas between several servers")
        for host, port in parse_addresses(servers):
            check_host(host)
            if not 0 < port <= MAX_PORT:
                raise ValueError(f"a port is a number from 1 to {MAX_PORT}")
        return servers

    def kafka_python(self) -> dict[str, Any]:
        """Return the connection arguments of a kafka-python client. Raises ConfigError."""
        return self._arguments(tokens.kafka_python_provider)

    def aiokafka(self) -> dict[str, Any]:
        """Return the connection arguments of an aiokafka client. Raises ConfigError."""
        return self._arguments(tokens.aiokafka_provider)

    def _arguments(self, provider: Any) -> dict[str, Any]:
        self.check()
        arguments: dict[str, Any] = {
            "bootstrap_servers": [server.strip() for server in self.bootstrap_servers.split(",")],
            "security_protocol": self.security_protocol,
        }
        if self.is_tls:
            arguments["ssl_context"] = self.ssl_context()
        if self.is_sasl:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            if self.sasl_mechanism == "OAUTHBEARER":
                arguments["sasl_oauth_token_provider"] = provider(self.sasl_token_command)
            else:
                arguments["sasl_plain_username"] = self.sasl_username
                arguments["sasl_plain_password"] = self.password
        return arguments


class KafkaSettings(KafkaConnection, EnvironmentSettings):
    """Touchline's own Kafka cluster, from the environment (`TOUCHLINE_KAFKA_...`)."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    def setting(self, field: str) -> str:
        return ENV_PREFIX + field.upper()
