"""The one way to ClickHouse, over its native protocol: settings, a thin client, and its errors grouped by what to do about them.

Only this module imports clickhouse_driver. Traps it takes care of: unknown settings are refused instead of dropped, inserts are
never asynchronous, on a cluster neither, parameters are bound by the server, a broken connection surfaces as EOFError or
OSError, and a client is one socket: one `ClickHouse` per thread.
"""

import logging
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from clickhouse_driver import Client, errors
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigError, FatalError, RecordError, RetryableError, TouchlineError

# The driver logs with a traceback what it also raises, and what it raises is mapped and told here.
logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)

DRIVER_ERRORS = (errors.Error, EOFError, OSError)
UNPACKABLE = (
    errors.TypeMismatchError,
    errors.TooLargeStringSize,
    struct.error,
    TypeError,
    AttributeError,
    ValueError,
    OverflowError,
)
RETRYABLE = {
    159: "timeout_exceeded",
    202: "too_many_simultaneous_queries",
    203: "no_free_connection",
    209: "socket_timeout",
    210: "network_error",
    216: "query_with_same_id_is_already_running",
    225: "no_keeper",
    236: "aborted",
    241: "memory_limit_exceeded",
    242: "table_is_read_only",
    243: "not_enough_space",
    252: "too_many_parts",
    285: "too_few_live_replicas",
    319: "unknown_status_of_insert",
    999: "keeper_exception",
}
MISCONFIGURED = {
    16: "no_such_column_in_table",
    20: "number_of_columns_doesnt_match",
    46: "unknown_function",
    47: "unknown_identifier",
    50: "unknown_type",
    60: "unknown_table",
    62: "syntax_error",
    81: "unknown_database",
    115: "unknown_setting",
    164: "readonly",
    192: "unknown_user",
    193: "wrong_password",
    194: "required_password",
    452: "setting_constraint_violation",
    497: "access_denied",
    516: "authentication_failed",
}
UNFIT = {
    6: "cannot_parse_text",
    27: "cannot_parse_input",
    53: "type_mismatch",
    70: "cannot_convert_type",
}
HINTS = {497: ": give its user the role touchline_writer"}
NAMES = RETRYABLE | MISCONFIGURED | UNFIT


# One row at once, then nothing: a query that only stays. Some bytes of progress come five times a second.
STAY = """
SELECT 1 UNION ALL SELECT count() FROM numbers(1000000000) WHERE sleepEachRow(0.2)
SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0, max_execution_time = 0
"""
LOOK_EVERY = 0.2
TAKEN = 216


class ClickHouseSettings(BaseSettings):
    """How to reach ClickHouse, from the environment (`TOUCHLINE_CLICKHOUSE_...`)."""

    model_config = SettingsConfigDict(env_prefix="TOUCHLINE_CLICKHOUSE_", frozen=True)

    host: str = "127.0.0.1"
    port: int = 9000
    http_port: int = 8123
    user: str = "default"
    password: SecretStr = SecretStr("")
    secure: bool = False
    cluster: str = ""


class UnavailableError(RetryableError):
    """ClickHouse is down or busy; `reason` is a short word for the metric label."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Answer(NamedTuple):
    """What a query returned: column names, and one tuple of Python values per row."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class ClickHouse:
    """One connection, opened by the first call and reopened after an error; never share one between threads."""

    def __init__(self, settings: ClickHouseSettings | None = None) -> None:
        self._settings = settings or ClickHouseSettings()
        self._where = f"ClickHouse at {self._settings.host}:{self._settings.port}"
        self._deduplicate: dict[str, Any] | None = None
        self._client = Client(
            self._settings.host,
            port=self._settings.port,
            user=self._settings.user,
            password=self._settings.password.get_secret_value(),
            secure=self._settings.secure,
            client_name="touchline",
            connect_timeout=5,
            send_receive_timeout=60,
            sync_request_timeout=5,
            tcp_keepalive=True,
            settings_is_important=True,
            settings={"server_side_params": True},
        )

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Rows of a query; parameters are written `{name:Type}`. Raises RetryableError, ConfigError or FatalError."""
        try:
            rows, columns = self._client.execute(sql, dict(params) if params else None, with_column_types=True)
        except DRIVER_ERRORS as error:
            raise self._mapped(error, detail=True) from error
        return Answer([name for name, _ in columns], rows)

    def execute(self, sql: str) -> None:
        """One statement that returns nothing. Raises as `query` does."""
        self.query(sql)

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]], token: str) -> None:
        """One block, one sequence of values per column; the same `token` again within the table's window inserts nothing.

        Raises UnavailableError (outcome unknown: retry the same values and token), RecordError (nothing stored, some value does
        not fit), ConfigError, FatalError. DateTime64 values are integers.
        """
        names = ", ".join(columns)
        settings = {
            "async_insert": 0,
            "distributed_foreground_insert": 1,
            "insert_deduplication_token": token,
            **self._deduplication(),
        }
        try:
            self._client.execute(f"INSERT INTO {table} ({names}) VALUES", values, columnar=True, settings=settings)
        except UNPACKABLE as error:
            self._client.disconnect()
            raise RecordError("unfit_value", f"a value does not fit its column in {table}: {type(error).__name__}") from error
        except DRIVER_ERRORS as error:
            raise self._mapped(error, detail=False) from error

    @contextmanager
    def alone(self, name: str, within: float = 60.0) -> Iterator[None]:
        """For the block, be the only one on this server who holds `name`; waits `within` seconds, then raises UnavailableError.

        A query of that id stays on a connection of its own. The server refuses a second one, and ends it some seconds after
        its connection is gone, so that whoever crashes leaves nothing behind.
        """
        holder = ClickHouse(self._settings)
        try:
            holder._hold(name, time.monotonic() + within)
            yield
        finally:
            holder.close()

    def _hold(self, name: str, end: float) -> None:
        while True:
            try:
                next(self._client.execute_iter(STAY, query_id=name))
            except DRIVER_ERRORS as error:
                mapped = self._mapped(error, detail=True)
                if getattr(error, "code", None) != TAKEN:
                    raise mapped from error
                if time.monotonic() > end:
                    raise UnavailableError(
                        f"{self._where} is held by another {name} for long: try again later", "held"
                    ) from error
                time.sleep(LOOK_EVERY)
            else:
                return

    def close(self) -> None:
        """Close the socket."""
        self._client.disconnect()

    def _deduplication(self) -> dict[str, Any]:
        """The setting that turns deduplication on, which was renamed in 26.2. Read once per client."""
        if self._deduplicate is None:
            known = self.query("SELECT count() FROM system.settings WHERE name = 'deduplicate_insert'").rows[0][0]
            self._deduplicate = {"deduplicate_insert": "enable"} if known else {"insert_deduplicate": 1}
        return self._deduplicate

    def _mapped(self, error: BaseException, *, detail: bool) -> TouchlineError:
        """Ours for the driver's. The server's own words only with `detail`: on inserts they may quote values."""
        if isinstance(error, errors.UnknownTypeError):
            return ConfigError(f"{self._where} sends a column type that clickhouse-driver does not know")
        if not isinstance(error, errors.ServerException):
            text = f"{self._where} does not answer ({type(error).__name__}): is it running? See `touchline status`"
            return UnavailableError(text, "network")
        name = NAMES.get(error.code, "unexpected")
        words = str(error.message).partition("Stack trace")[0].strip().removeprefix("DB::Exception: ") if detail else ""
        text = f"{self._where} refused with error {error.code} ({name}){': ' if words else ''}{words}"
        if error.code in RETRYABLE:
            return UnavailableError(text, name)
        if error.code in MISCONFIGURED:
            hint = (
                "" if detail else HINTS.get(error.code, ": the tables may be older than this software, run `touchline migrate`")
            )
            return ConfigError(text + hint)
        if error.code in UNFIT:
            return RecordError("unfit_value", text)
        return FatalError(text)
