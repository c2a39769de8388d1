"""MariaDB with the driver PyMySQL."""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.constants import CR, ER, FIELD_TYPE
from pymysql.converters import encoders
from pymysql.cursors import SSDictCursor

from connectors.errors import AuthError
from connectors.settings import secret_variable
from connectors.sql.database import TOO_SLOW, Database, Row
from connectors.sql.settings import SqlSettings
from schemas.errors import ConfigError, RetryableError

INTEGERS = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR)
CONVERSION = {**encoders, **dict.fromkeys(INTEGERS, int)}
RIGHTS_ERRORS = (
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
)
DATABASE_ERRORS = (ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR)
NAME_ERRORS = (ER.BAD_DB_ERROR, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.PARSE_ERROR, ER.VIEW_INVALID)
# A statement's time is a little earlier than its transaction's time in innodb_trx, which has whole seconds.
TRANSACTION_CLOCK = """SELECT now(6) AS now,
 least(now(6), coalesce(min(convert_tz(trx_started, 'SYSTEM', '+00:00')), now(6))) - INTERVAL 1 SECOND AS settled
FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> connection_id()"""
PLAIN_CLOCK = "SELECT now(6) AS now, now(6) - INTERVAL 1 SECOND AS settled"
NO_RIGHT = "cannot see open transactions: GRANT PROCESS ON *.* TO {user}, or set wait_for_transactions: false"


class MariaDB(Database):
    """A read-only session in UTC."""

    quote_mark = "`"
    transaction_clock = TRANSACTION_CLOCK
    plain_clock = PLAIN_CLOCK

    def __init__(self, settings: SqlSettings) -> None:
        super().__init__(settings)
        self._connection: Any = None

    def check(self) -> str:
        (row,) = self.query("SELECT version() AS version")
        if self.settings.wait_for_transactions and not self._has_process_right():
            raise ConfigError(f"url: its user {NO_RIGHT.format(user=urlsplit(self.settings.url).username)}")
        return f"MariaDB {row['version'].partition('-')[0]}"

    def query(self, sql: str, values: Sequence[Any] = (), subject: str = "the database") -> Iterator[Row]:
        try:
            with closing(self._connect().cursor()) as cursor:
                cursor.execute(sql, tuple(values))
                for row in cursor:
                    yield {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
        except (pymysql.Error, OSError) as error:
            connected = self._connection is not None
            self.close()
            raise self._map_error(error, subject, connected=connected) from None

    def close(self) -> None:
        if self._connection and self._connection.open:
            self._connection.close()
        self._connection = None

    def _has_process_right(self) -> bool:
        try:
            self.read_clock()
        except ConfigError:
            return False
        return True

    def _connect(self) -> Any:
        if self._connection is None:
            url, seconds = urlsplit(self.settings.url), self.settings.timeout_seconds
            options = dict(parse_qsl(url.query))
            self._connection = pymysql.connect(
                host=url.hostname,
                port=url.port or 3306,
                user=unquote(url.username or ""),
                password=self.settings.password.get_secret_value(),
                database=unquote(url.path.strip("/")),
                charset="utf8mb4",
                autocommit=True,
                conv=CONVERSION,
                cursorclass=SSDictCursor,
                connect_timeout=min(seconds, 10),
                read_timeout=seconds,
                write_timeout=seconds,
                ssl=_create_ssl_context(options["ssl_ca"]) if "ssl_ca" in options else None,
                init_command="SET SESSION time_zone = '+00:00', tx_read_only = ON",
            )
        return self._connection

    def _map_error(self, error: Exception, subject: str, *, connected: bool) -> Exception:
        code = error.args[0] if error.args else 0
        if code == ER.ACCESS_DENIED_ERROR:
            secret = secret_variable(self.settings.name, "password")
            return AuthError(f"the server rejects the user: is {secret} right, and may the user connect from this host?")
        if code in DATABASE_ERRORS and not connected:
            database = unquote(urlsplit(self.settings.url).path.strip("/"))
            return ConfigError(
                f"url: the server has no database {database}, or the user may not read it (error {code}): is its name right?"
            )
        if code in RIGHTS_ERRORS or code in NAME_ERRORS:
            return ConfigError(
                f"{subject} cannot be read (error {code}): are `tables` and `columns` right, and may the user read them?"
            )
        if code == CR.CR_SERVER_LOST and "timed out" in str(error):
            return RetryableError(TOO_SLOW.format(subject))
        return RetryableError(f"{subject} cannot be read (error {code}): is `url` right, and does the server run?")


def _create_ssl_context(path: str) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates of a file. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # SSLError is an OSError
        reason = "it contains no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"url: ssl_ca: {path} cannot be used: {reason}") from None
