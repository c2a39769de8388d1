"""Parsers that turn frames of both protocols into events. Pure: bytes in, values out.

An event is {seq, time, kind, did, uri, rev, operation, record, status, deleted}: a created, updated or deleted post, or a deleted
account. Other frames have no event, only a sequence number.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.errors import ConfigError, RetryableError

POSTS = "app.bsky.feed.post"
PREFIX = "network.bsky.jetstream.subscribeEvents#"
DELETED = {"deleted", "takendown"}
CURSOR_ERRORS = {"OutdatedCursor", "FutureCursor", "CursorTooOld"}


class Frame(NamedTuple):
    """One frame: sequence number (or None), server's time, events. `lost` is the server's reason if it lost the cursor."""

    seq: int | None
    time: str | None
    events: list[dict[str, Any]]
    lost: str | None = None


def parse_jetstream(data: str | bytes) -> Frame:
    """Return a frame of `network.bsky.jetstream.subscribeEvents` (subprotocol xrpc.v1.json)."""
    try:
        message = json.loads(data)
        if message["$type"] == "error":
            return _handle_error(message.get("error"))
        payload = message["payload"]
        kind = payload["$type"].removeprefix(PREFIX)
        if kind == "info":
            return _handle_info(payload.get("name"))
        seq, at = int(payload["seq"]), payload.get("witnessedAt") or payload["time"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RetryableError("the stream sent a frame that is not Jetstream format") from None
    if kind == "commit" and payload["collection"] == POSTS:
        did, rev, operation, rkey = (payload[name] for name in ("did", "rev", "operation", "rkey"))
        return Frame(seq, at, [_create_post_event(seq, at, did, rev, operation, rkey, payload.get("record"))])
    return Frame(seq, at, _create_account_events(seq, at, payload.get("account") or {}) if kind == "account" else [])


def create_firehose_parser() -> Callable[[Any], Frame]:
    """Return the parser for frames of `com.atproto.sync.subscribeRepos`. Raises ConfigError if libipld is not installed."""
    try:
        import libipld
    except ImportError:
        raise ConfigError("protocol: firehose needs another package: pip install libipld") from None

    def parse(data: bytes) -> Frame:
        try:
            head, body = libipld.decode_dag_cbor_multi(data)
            if head["op"] == -1:
                return _handle_error(body.get("error"))
            if head["t"] == "#info":
                return _handle_info(body.get("name"))
            if head["t"] == "#account":
                return Frame(body["seq"], body["time"], _create_account_events(body["seq"], body["time"], body))
            if head["t"] != "#commit":
                return Frame(body.get("seq"), body.get("time"), [])
            blocks = libipld.decode_car(body["blocks"])[1] if body["blocks"] else {}
            ops = [op for op in body["ops"] if op["path"].startswith(f"{POSTS}/")]
            posts = {op["path"]: _to_json(blocks.get(op["cid"]), libipld.encode_cid) for op in ops if op["cid"]}
            return Frame(body["seq"], body["time"], [_create_operation_event(body, op, posts.get(op["path"])) for op in ops])
        except (ValueError, KeyError, TypeError):
            raise RetryableError("the stream sent a frame that is not firehose format") from None

    return parse


def _to_json(value: Any, link: Callable[[bytes], str]) -> Any:
    """Return a record as JSON, with links to pictures and other posts as texts."""
    if isinstance(value, dict):
        return {name: _to_json(one, link) for name, one in value.items()}
    if isinstance(value, list):
        return [_to_json(one, link) for one in value]
    return {"$link": link(value)} if isinstance(value, bytes) else value


def _create_operation_event(body: dict[str, Any], op: dict[str, Any], record: Any) -> dict[str, Any]:
    rkey = op["path"].partition("/")[2]
    return _create_post_event(body["seq"], body["time"], body["repo"], body["rev"], op["action"], rkey, record)


def _create_post_event(seq: int, at: str, did: str, rev: str, operation: str, rkey: str, record: Any) -> dict[str, Any]:
    uri = f"at://{did}/{POSTS}/{rkey}"
    event = {"seq": seq, "time": at, "kind": "post", "did": did, "uri": uri, "rev": rev, "operation": operation}
    return {**event, "record": record, "status": None, "deleted": operation == "delete"}


def _create_account_events(seq: int, at: str, account: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one event if the account was deleted, which includes all its posts."""
    if account.get("active") or account.get("status") not in DELETED:
        return []
    event = {
        "seq": seq,
        "time": at,
        "kind": "account",
        "did": account["did"],
        "uri": f"at://{account['did']}",
        "rev": account["time"],
    }
    return [{**event, "operation": "delete", "record": None, "status": account["status"], "deleted": True}]


def _handle_error(error: str | None) -> Frame:
    if error in CURSOR_ERRORS:
        return Frame(None, None, [], error)
    raise RetryableError(f"the stream reports the error {error}")


def _handle_info(name: str | None) -> Frame:
    return Frame(None, None, [], name if name in CURSOR_ERRORS else None)
