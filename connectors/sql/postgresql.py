"""PostgreSQL with the driver psycopg 3."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from connectors.errors import AuthError
from connectors.settings import secret_variable
from connectors.sql.database import TOO_SLOW, Database, Row
from connectors.sql.settings import SqlSettings
from schemas.errors import ConfigError, RetryableError

TEXT_TYPES = (
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "numeric",
    "float4",
    "float8",
    "uuid",
    "bytea",
    "inet",
    "cidr",
)
CONFIG_ERRORS = ("0A", "22", "3F", "42")  # classes of SQLSTATE: not supported, data, schema, names and rights
CHECK = """SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby,
pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_transactions, current_setting('server_encoding') AS encoding"""
# A transaction without a write may still write later with the time of its begin, so all open transactions count.
TRANSACTION_CLOCK = """SELECT clock_timestamp() AS now, least(
 clock_timestamp() - interval '1 second', min(xact_start), (SELECT min(prepared) FROM pg_prepared_xacts)) AS settled
FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
AND backend_type NOT IN ('autovacuum worker', 'walsender')"""
PLAIN_CLOCK = "SELECT clock_timestamp() AS now, clock_timestamp() - interval '1 second' AS settled"
NO_RIGHT = "cannot see other users' transactions: GRANT pg_read_all_stats TO {user}, or set wait_for_transactions: false"
STANDBY = "is a standby, which does not know the primary's transactions: read the primary, or set wait_for_transactions: false"


class PostgreSQL(Database):
    """A read-only session in UTC."""

    quote_mark = '"'
    transaction_clock = TRANSACTION_CLOCK
    plain_clock = PLAIN_CLOCK

    def __init__(self, settings: SqlSettings) -> None:
        super().__init__(settings)
        self._connection: psycopg.Connection[Row] | None = None
        try:
            self._build_conninfo()
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"url: {str(error).strip()}") from None

    def check(self) -> str:
        try:
            (row,) = self.query(CHECK)
        except RetryableError:
            if pq.PGconn.ping(self._build_conninfo().encode()) != pq.Ping.OK:
                raise
            secret = secret_variable(self.settings.name, "password")
            raise AuthError(f"the server rejects the connection: is {secret} right, and do user and database exist?") from None
        if row["encoding"] == "SQL_ASCII":
            raise ConfigError(
                "url: the database has the encoding SQL_ASCII, so its texts cannot be decoded: use a database with UTF8"
            )
        if self.settings.wait_for_transactions and row["standby"]:
            raise ConfigError(f"url: it {STANDBY}")
        if self.settings.wait_for_transactions and not row["sees_transactions"]:
            raise ConfigError(
                f"url: its user {NO_RIGHT.format(user=psycopg.conninfo.conninfo_to_dict(self.settings.url)['user'])}"
            )
        return f"PostgreSQL {row['version']}"

    def query(self, sql: str, values: Sequence[Any] = (), subject: str = "the database") -> Iterator[Row]:
        try:
            connection = self._connect()
            with connection.cursor() as cursor:
                yield from cursor.stream(sql.encode(), values, size=500)
        except psycopg.Error as error:
            self.close()
            text = f"{subject} cannot be read ({type(error).__name__})"
            if (error.sqlstate or "")[:2] in CONFIG_ERRORS:
                raise ConfigError(f"{text}: are `tables` and `columns` right, and may the user read them?") from None
            if isinstance(error, psycopg.errors.QueryCanceled):
                raise RetryableError(TOO_SLOW.format(subject)) from None
            raise RetryableError(f"{text}: is `url` right, and does the server run?") from None

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _connect(self) -> psycopg.Connection[Row]:
        if self._connection is None:
            password = self.settings.password.get_secret_value()
            self._connection = psycopg.connect(self._build_conninfo(), password=password, autocommit=True, row_factory=dict_row)
            for name in TEXT_TYPES:
                self._connection.adapters.register_loader(name, TextLoader)
        return self._connection

    def _build_conninfo(self) -> str:
        seconds = int(self.settings.timeout_seconds + 1)
        options = f"-c timezone=UTC -c datestyle=ISO -c default_transaction_read_only=on -c statement_timeout={seconds}s"
        return psycopg.conninfo.make_conninfo(
            self.settings.url,
            client_encoding="utf8",
            application_name="touchline",
            connect_timeout=min(seconds, 10),
            keepalives_idle=seconds,
            tcp_user_timeout=seconds * 1_000,
            options=options,
        )
