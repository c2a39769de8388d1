"""Where the running stack is: one small file that `touchline up` writes and every other command reads."""

import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import ConfigError


class Stack(BaseModel):
    """Addresses and process ids of a running local stack; ports are TCP ports on the loopback interface."""

    model_config = ConfigDict(frozen=True)

    supervisor_pid: int
    kafka_port: int
    clickhouse_port: int
    clickhouse_http_port: int


def home() -> Path:
    """The one ignored folder for all data of the local stack: `TOUCHLINE_HOME`, else `.touchline` here."""
    return Path(os.environ.get("TOUCHLINE_HOME", ".touchline")).resolve()


def read() -> Stack | None:
    """The running stack, or None where none was started. Raises ConfigError for a file that cannot be read."""
    path = home() / "stack.json"
    try:
        return Stack.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError) as error:
        raise ConfigError(f"{path} is damaged: run `touchline down`, then `touchline up`") from error


def export_addresses() -> None:
    """Point this process at the local stack, unless the environment names a Kafka or ClickHouse already."""
    stack = read()
    if stack is None:
        return
    os.environ.setdefault("TOUCHLINE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{stack.kafka_port}")
    os.environ.setdefault("TOUCHLINE_CLICKHOUSE_PORT", str(stack.clickhouse_port))
    os.environ.setdefault("TOUCHLINE_CLICKHOUSE_HTTP_PORT", str(stack.clickhouse_http_port))
