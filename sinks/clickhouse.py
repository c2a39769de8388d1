"""Client of ClickHouse over its native protocol, with errors grouped by recovery.

Only this module imports clickhouse_driver. It handles these traps: the server must refuse unknown settings, inserts must be
synchronous, the server binds parameters, and a broken connection raises EOFError or OSError. A client is one socket, so each
thread needs its own `ClickHouse`.
"""

import logging
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from clickhouse_driver import Client, errors

from schemas.errors import ConfigError, FatalError, RecordError, RetryableError, TouchlineError
from schemas.service.probe import CONFIRM_SECONDS
from sinks.codes import (
    BAD_VALUES,
    LOGIN_REJECTED,
    MISCONFIGURED,
    NAMES,
    RETRYABLE,
    SESSION_LIMIT_EXCEEDED,
    SETTING_CONSTRAINT,
)
from sinks.connection import ClickHouseSettings, diagnose_clickhouse
from sinks.server_versions import TOKEN, make_insert_settings

# The driver logs each error with a traceback and also raises it; this module maps the raised error.
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
ASK_SETTINGS = """
SELECT version(), groupArray(name) FROM system.settings
WHERE name LIKE '%dedup%' OR name IN ('async_insert', 'distributed_foreground_insert')
"""
HINTS = {497: ": give its user the role touchline_writer"}


# A query that returns one row and then only sleeps, as a lock. It sends progress five times a second.
HOLD_QUERY = """
SELECT 1 UNION ALL SELECT count() FROM numbers(1000000000) WHERE sleepEachRow(0.2)
SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0, max_execution_time = 0
"""
HOLD_RETRY_SECONDS = 0.2
QUERY_ID_IN_USE = 216


class UnexpectedError(FatalError):
    """ClickHouse refused with a code that no list of `codes.py` contains; the outcome is unknown."""


class UnavailableError(RetryableError):
    """ClickHouse is down or busy; `reason` is a short word for the metric label."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Answer(NamedTuple):
    """Result of a query: column names, and one tuple of Python values per row."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class ClickHouse:
    """One connection, opened by the first call and reopened after an error; never share one between threads."""

    def __init__(self, settings: ClickHouseSettings | None = None) -> None:
        self._settings = settings or ClickHouseSettings()
        self._where = f"ClickHouse at {self._settings.host}:{self._settings.port}"
        self._insert_settings: dict[str, Any] | None = None
        self._has_answered = False
        self._client = self._make_client()

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Return the rows of a query with parameters `{name:Type}`. Raises RetryableError, ConfigError or FatalError."""
        try:
            rows, columns = self._client.execute(sql, dict(params) if params else None, with_column_types=True)
        except DRIVER_ERRORS as error:
            raise self._map_error(error, detail=True) from error
        self._has_answered = True
        return Answer([name for name, _ in columns], rows)

    def stream(self, sql: str, params: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query while the server sends them, so that memory holds one block. Texts are bytes.

        Read all rows, or close the connection, before the next call. Raises as `query` does, also between two rows.
        """
        try:
            yield from self._client.execute_iter(sql, dict(params) if params else None, settings={"strings_as_bytes": True})
        except DRIVER_ERRORS as error:
            raise self._map_error(error, detail=True) from error
        self._has_answered = True

    def execute(self, sql: str) -> None:
        """Run one statement that returns nothing. Raises as `query` does."""
        self.query(sql)

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]], token: str) -> None:
        """Insert one block, a sequence of values per column. A repeated `token` within the table's window inserts nothing.

        Raises UnavailableError (outcome unknown: retry with the same values and token), RecordError (nothing is stored, a value
        does not fit), ConfigError, FatalError. DateTime64 values are integers.
        """
        names = ", ".join(columns)
        settings = {TOKEN: token, **self._get_insert_settings()}
        try:
            self._client.execute(f"INSERT INTO {table} ({names}) VALUES", values, columnar=True, settings=settings)
        except UNPACKABLE as error:
            self._client.disconnect()
            raise RecordError("unfit_value", f"a value does not fit its column in {table}: {type(error).__name__}") from error
        except DRIVER_ERRORS as error:
            raise self._map_error(error, detail=False) from error

    def abort(self) -> None:
        """End the current call from another thread, as if the connection were lost."""
        if connected := self._client.connection.socket:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def hold_lock(self, name: str, within: float = 60.0) -> Iterator[None]:
        """Hold the lock `name` on this server during the block. Raises UnavailableError after `within` seconds of waiting.

        The lock is a query with that id on its own connection. The server refuses a second query with the same id, and ends the
        query some seconds after its connection is lost, so a crash releases the lock.
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
                next(self._client.execute_iter(HOLD_QUERY, query_id=name))
            except DRIVER_ERRORS as error:
                mapped = self._map_error(error, detail=True)
                if getattr(error, "code", None) != QUERY_ID_IN_USE:
                    raise mapped from error
                if time.monotonic() > end:
                    raise UnavailableError(f"another {name} still runs on {self._where}: try again later", "held") from error
                time.sleep(HOLD_RETRY_SECONDS)
            else:
                return

    def close(self) -> None:
        """Close the socket."""
        self._client.disconnect()

    def _make_client(self) -> Client:
        client = Client(
            self._settings.host,
            port=self._settings.port,
            user=self._settings.user,
            password=self._settings.password.get_secret_value(),
            secure=self._settings.secure,
            client_name="touchline",
            connect_timeout=5,
            send_receive_timeout=self._settings.answer_seconds,
            sync_request_timeout=5,
            tcp_keepalive=True,
            settings_is_important=True,
            settings={"server_side_params": True},
        )
        if self._settings.secure:
            # The driver has no option for a context of one's own, and without a CA file it uses a store that is not the system's.
            context = self._settings.ssl_context()
            client.connection._create_ssl_context = lambda _options: context  # noqa: SLF001
        return client

    def _get_insert_settings(self) -> dict[str, Any]:
        """Return the settings of inserts, read again after each error, because a server of another version may answer then."""
        if self._insert_settings is None:
            ((version, known),) = self.query(ASK_SETTINGS).rows
            self._insert_settings = make_insert_settings(version, known, self._where)
        return self._insert_settings

    def _map_error(self, error: BaseException, *, detail: bool) -> TouchlineError:
        """Return our error for a driver's. `detail` includes the server's text, which may quote values on inserts."""
        self._insert_settings = None
        if isinstance(error, errors.UnknownTypeError):
            return ConfigError(f"{self._where} sends a column type that clickhouse-driver does not know")
        if not isinstance(error, errors.ServerException):
            return self._lost_connection(error)
        name = NAMES.get(error.code, "unexpected")
        message = " ".join(str(error.message).partition("Stack trace")[0].split())
        words = message.removeprefix("DB::Exception: ") if detail else ""
        text = f"{self._where} refused with error {error.code} ({name}){': ' if words else ''}{words}"
        if error.code == SESSION_LIMIT_EXCEEDED:
            hint = f"set {self._settings.setting('user')} (a local stack has `admin`), or raise max_sessions_for_user"
            return UnavailableError(f"{self._where} has no free session for the user {self._settings.user}: {hint}", name)
        if error.code in RETRYABLE:
            return UnavailableError(text, name)
        if error.code in LOGIN_REJECTED:
            return self._rejected_login(name)
        if error.code in MISCONFIGURED:
            return ConfigError(text + self._make_hint(error.code, detail=detail))
        if error.code in BAD_VALUES:
            return RecordError("unfit_value", text)
        return UnexpectedError(text)

    def _make_hint(self, code: int, *, detail: bool) -> str:
        if code == SETTING_CONSTRAINT:
            return f": set {self._settings.setting('user')} to a user without this limit"
        return "" if detail else HINTS.get(code, ": the tables may be older than this software, run `touchline migrate`")

    def _rejected_login(self, name: str) -> TouchlineError:
        """Return the error of a rejected login: a ConfigError only where a second login is rejected, too.

        A server that starts may not have read its users yet.
        """
        user, password = self._settings.setting("user"), self._settings.setting("password")
        text = f"{self._where} rejects user or password ({name}): correct {user} or {password}"
        time.sleep(CONFIRM_SECONDS)
        second = self._make_client()
        try:
            second.execute("SELECT 1")
        except errors.ServerException as error:
            if error.code in LOGIN_REJECTED:
                return ConfigError(text)
        except DRIVER_ERRORS:
            pass
        finally:
            second.disconnect()
        return UnavailableError(text, name)

    def _lost_connection(self, error: BaseException) -> TouchlineError:
        """Return the error of a lost connection. Only a first connection is probed: later ones have proved the settings."""
        text = f"{self._where} does not answer ({type(error).__name__}): is it running? See `touchline status`"
        if not self._has_answered:
            problem = diagnose_clickhouse(self._settings)
            if isinstance(problem, ConfigError):
                return problem
            names = ", ".join(self._settings.setting(field) for field in ("port", "user", "password"))
            text = str(problem or f"{self._where} ends the login ({type(error).__name__}): is it running, and are {names} right?")
        return UnavailableError(text, "network")
