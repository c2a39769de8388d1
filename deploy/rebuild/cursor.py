"""Cursor of a rebuild: one file in `TOUCHLINE_HOME`, so that an interrupted rebuild can be resumed.

The file is on the machine of the person who runs the command, because a rebuild is no process of the line. It holds ids of
customers and no other personal data.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.local.state import home, make_private
from deploy.rebuild.scope import Scope
from schemas.errors import ConfigError

FILE = "rebuild.json"


class Cursor(BaseModel):
    """Position of a rebuild. Large customers up to `last_large` and others up to `last_customer` (hexadecimal) are on Kafka.

    `began` is in milliseconds since 1970. `ends` maps a partition of `touchline.resolved` to the offset of its last `history`
    record.
    """

    model_config = ConfigDict(frozen=True)

    scope: Scope
    servers: str
    began: int
    last_large: str = ""
    last_customer: str = ""
    customers: int = 0
    touchpoints: int = 0
    ends: dict[int, int] = {}


def cursor_file() -> Path:
    """Return the path of the cursor."""
    return home() / FILE


def load_cursor() -> Cursor | None:
    """Return the cursor of an interrupted rebuild, or None. Raises ConfigError for an unreadable file."""
    path = cursor_file()
    try:
        return Cursor.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}): change its rights, or set TOUCHLINE_HOME") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is damaged: delete it, then start the rebuild again without --resume") from error


def save_cursor(cursor: Cursor) -> None:
    """Replace the file in one step, so that a crash leaves the old or the new cursor."""
    path = cursor_file()
    make_private(path.parent)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(cursor.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def delete_cursor() -> None:
    """Delete the file after the last customer."""
    cursor_file().unlink(missing_ok=True)


def find_resumed(scope: Scope | None, servers: str) -> Cursor:
    """Return the cursor to resume from. Raises ConfigError if there is none, or if it is of another scope or cluster."""
    found = load_cursor()
    if found is None:
        raise ConfigError(f"no interrupted rebuild to resume ({cursor_file()} does not exist): start one without --resume")
    if scope is not None and scope != found.scope:
        raise ConfigError(f"the interrupted rebuild is of {found.scope.text}: give only --resume, or start one without it")
    if servers != found.servers:
        raise ConfigError(f"the interrupted rebuild used {found.servers}: set their addresses, or start one without --resume")
    return found
