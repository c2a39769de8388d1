"""The frames of both protocols as events. Pure: bytes in, values out.

An event is {seq, time, kind, did, uri, rev, operation, record, status, deleted}: a post created, updated or deleted, or an
account deleted. What else a stream holds gives none, but its place.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from connectors.errors import CursorExpiredError
from schemas.errors import ConfigError, RetryableError

POSTS = "app.bsky.feed.post"
PREFIX = "network.bsky.jetstream.subscribeEvents#"
GONE = {"deleted", "takendown"}
LOST = {"OutdatedCursor", "FutureCursor", "CursorTooOld"}


class Frame(NamedTuple):
    """One frame: its place (None: it has none), the server's time of it, its events; `lost` where the cursor is of no use."""

    seq: int | None
    time: str | None
    events: list[dict[str, Any]]
    lost: str | None = None


def jetstream(data: str | bytes) -> Frame:
    """A frame of `network.bsky.jetstream.subscribeEvents` (subprotocol xrpc.v1.json)."""
    try:
        found = json.loads(data)
        if found["$type"] == "error":
            return _refused(found.get("error"))
        told = found["payload"]
        kind = told["$type"].removeprefix(PREFIX)
        if kind == "info":
            return _advised(told.get("name"))
        seq, at = int(told["seq"]), told.get("witnessedAt") or told["time"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RetryableError("the stream sent a frame that is none of Jetstream's") from None
    if kind == "commit" and told["collection"] == POSTS:
        return Frame(seq, at, [_post(seq, at, told["did"], told["rev"], told["operation"], told["rkey"], told.get("record"))])
    return Frame(seq, at, _account(seq, at, told.get("account") or {}) if kind == "account" else [])


def firehose() -> Callable[[Any], Frame]:
    """What reads a frame of `com.atproto.sync.subscribeRepos`. Raises ConfigError where the extra is not installed."""
    try:
        import libipld
    except ImportError:
        raise ConfigError("the firehose needs one more package: pip install libipld") from None

    def read(data: bytes) -> Frame:
        try:
            head, told = libipld.decode_dag_cbor_multi(data)
            if head["op"] == -1:
                return _refused(told.get("error"))
            if head["t"] == "#info":
                return _advised(told.get("name"))
            if head["t"] == "#account":
                return Frame(told["seq"], told["time"], _account(told["seq"], told["time"], told))
            if head["t"] != "#commit":
                return Frame(told.get("seq"), told.get("time"), [])
            blocks = libipld.decode_car(told["blocks"])[1] if told["blocks"] else {}
            ops = [op for op in told["ops"] if op["path"].startswith(f"{POSTS}/")]
            found = {op["path"]: _plain(blocks.get(op["cid"]), libipld.encode_cid) for op in ops if op["cid"]}
            return Frame(told["seq"], told["time"], [_op(told, op, found.get(op["path"])) for op in ops])
        except (ValueError, KeyError, TypeError):
            raise RetryableError("the stream sent a frame that is none of a firehose's") from None

    return read


def _plain(value: Any, link: Callable[[bytes], str]) -> Any:
    """A record as JSON has it: the addresses of pictures and other posts as their texts."""
    if isinstance(value, dict):
        return {name: _plain(one, link) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, link) for one in value]
    return {"$link": link(value)} if isinstance(value, bytes) else value


def _op(told: dict[str, Any], op: dict[str, Any], record: Any) -> dict[str, Any]:
    rkey = op["path"].partition("/")[2]
    return _post(told["seq"], told["time"], told["repo"], told["rev"], op["action"], rkey, record)


def _post(seq: int, at: str, did: str, rev: str, operation: str, rkey: str, record: Any) -> dict[str, Any]:
    uri = f"at://{did}/{POSTS}/{rkey}"
    event = {"seq": seq, "time": at, "kind": "post", "did": did, "uri": uri, "rev": rev, "operation": operation}
    return {**event, "record": record, "status": None, "deleted": operation == "delete"}


def _account(seq: int, at: str, told: dict[str, Any]) -> list[dict[str, Any]]:
    """An account that is gone, all of its posts with it."""
    if told.get("active") or told.get("status") not in GONE:
        return []
    event = {"seq": seq, "time": at, "kind": "account", "did": told["did"], "uri": f"at://{told['did']}", "rev": told["time"]}
    return [{**event, "operation": "delete", "record": None, "status": told["status"], "deleted": True}]


def _refused(error: str | None) -> Frame:
    if error in LOST:
        return Frame(None, None, [], error)
    raise RetryableError(f"the stream ended with the error {error}")


def _advised(name: str | None) -> Frame:
    return Frame(None, None, [], name if name in LOST else None)


def expired(frame: Frame) -> CursorExpiredError:
    """What to raise where a saved cursor is lost."""
    return CursorExpiredError(f"the stream says {frame.lost}")
