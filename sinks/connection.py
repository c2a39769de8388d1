"""ClickHouse connection: its settings, and the diagnosis of one that fails. The driver itself is in `sinks/clickhouse.py`."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from schemas.errors import ConfigError, TouchlineError
from schemas.service.probe import Server, confirm, open_tls, speaks_tls, wait_for_alert
from schemas.service.settings import EnvironmentSettings, check_host
from schemas.service.tls import TlsSettings

ENV_PREFIX = "TOUCHLINE_CLICKHOUSE_"


class ClickHouseSettings(TlsSettings, EnvironmentSettings):
    """Address and login of ClickHouse, from the environment (`TOUCHLINE_CLICKHOUSE_...`)."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    host: str = Field(description="Host name or address of the server. Not needed with a local stack.")
    port: int = Field(default=9000, ge=1, le=65_535, description="Port of the native protocol; usually 9440 with TLS.")
    http_port: int = Field(
        default=8123, ge=1, le=65_535, description="Port of the HTTP interface; `touchline up` sets it for other programs."
    )
    user: str = Field(default="default", description="User name.")
    password: SecretStr = Field(default=SecretStr(""), description="Password of the user.")
    secure: bool = Field(default=False, description="Connect by TLS.")
    cluster: str = Field(default="", description="Cluster name of the server's configuration, for tables on several servers.")
    answer_seconds: float = Field(
        default=60.0, gt=0, description="Seconds without any data from the server after which it counts as unreachable."
    )

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        return check_host(host)

    def setting(self, field: str) -> str:
        return ENV_PREFIX + field.upper()


def diagnose_clickhouse(settings: ClickHouseSettings) -> TouchlineError | None:
    """Return why no connection is possible, as an error that names the setting to change; None where TCP and TLS work.

    Call it after a first connection failed.
    """
    server = Server(
        product="ClickHouse",
        host=settings.host,
        port=settings.port,
        tls=settings,
        address_hint=f"correct {settings.setting('host')} or {settings.setting('port')}",
        tls_hint=f"set {settings.setting('secure')}=true",
        no_tls_hint=f"set {settings.setting('secure')}=false, or {settings.setting('port')} to its TLS port (usually 9440)",
        greeting=b"GET / HTTP/1.0\r\n\r\n",
        greeting_answer=b"H",  # the native port answers HTTP with "HTTP/1.0 400 Bad Request"
        start_hint="start a local one with `touchline up`, or " if settings.host in ("127.0.0.1", "localhost") else "",
    )
    return confirm(lambda: _probe(settings, server))


def _probe(settings: ClickHouseSettings, server: Server) -> TouchlineError | None:
    try:
        if settings.secure:
            with open_tls(server) as connection:
                wait_for_alert(server, connection)
        elif speaks_tls(server):
            return ConfigError(f"{server} expects TLS: {server.tls_hint}")
    except TouchlineError as error:
        return error
    return None
