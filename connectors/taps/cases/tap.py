"""Test tap of the protocols Singer and Airbyte: it sends the lines of a file and simulates faults.

Config: `rows` (a file of JSON lines; lines without `changed_at` are sent unchanged), `key`, `state_every` (rows), and
`fault`: {`kind`: die, half, hang, config or unreachable, `after`: rows}. It continues at the newest `changed_at` and sends the
rows of that time again.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

AIRBYTE = {"check", "discover", "read"}
SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}, "changed_at": {"type": "string", "format": "date-time"}}}


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def read_option(name: str) -> Any:
    """Return the content of an option's file, or None without the option."""
    options = dict(zip(sys.argv, sys.argv[1:], strict=False))
    return json.loads(Path(options[f"--{name}"]).read_text(encoding="utf-8")) if f"--{name}" in options else None


def singer(config: dict[str, Any]) -> None:
    if "--discover" in sys.argv:
        metadata = [{"breadcrumb": [], "metadata": {"inclusion": "available", "table-key-properties": config.get("key", [])}}]
        send(streams=[{"tap_stream_id": "shop-orders", "stream": "orders", "schema": SCHEMA, "metadata": metadata}])
        return
    (stream,) = read_option("catalog")["streams"]
    assert stream["metadata"][0]["metadata"]["selected"]
    send(type="SCHEMA", stream="orders", schema=SCHEMA, key_properties=config.get("key", []), bookmark_properties=["changed_at"])
    newest = (read_option("state") or {}).get("bookmarks", {}).get("shop-orders", "")
    for row, bookmark in rows(config, newest):
        if row is not None:
            send(type="RECORD", stream="orders", record=row, time_extracted=time.strftime("%Y-%m-%dT%H:%M:%SZ"))
        else:
            send(type="STATE", value={"bookmarks": {"shop-orders": bookmark}})


def airbyte(config: dict[str, Any]) -> None:
    send(type="LOG", log={"level": "INFO", "message": "running"})
    if sys.argv[1] == "check":
        is_unreachable = config.get("fault", {}).get("kind") == "unreachable"
        send(
            type="CONNECTION_STATUS",
            connectionStatus={"status": "FAILED" if is_unreachable else "SUCCEEDED", "message": "simulated"},
        )
        return
    if sys.argv[1] == "discover":
        key = [[column] for column in config.get("key", [])]
        modes = ["full_refresh", "incremental"]
        stream = {"name": "orders", "json_schema": SCHEMA, "supported_sync_modes": modes, "source_defined_primary_key": key}
        send(type="CATALOG", catalog={"streams": [stream]})
        return
    (stream,) = read_option("catalog")["streams"]
    assert stream["sync_mode"] == "incremental"
    (saved,) = read_option("state") or [{"stream": {"stream_state": {}}}]
    descriptor = {"name": stream["stream"]["name"]}
    for row, bookmark in rows(config, saved["stream"]["stream_state"].get("changed_at", "")):
        if row is not None:
            send(type="RECORD", record={"stream": "orders", "data": row, "emitted_at": int(time.time() * 1_000)})
        else:
            state = {"stream_descriptor": descriptor, "stream_state": {"changed_at": bookmark}}
            send(type="STATE", state={"type": "STREAM", "stream": state})


def rows(config: dict[str, Any], newest: str) -> Any:
    """Yield (row, _) for rows that changed at `newest` or later, and (None, newest) for states."""
    sent = 0
    for line in Path(config["rows"]).read_text(encoding="utf-8").splitlines():
        fail(config.get("fault", {}), sent)
        row = json.loads(line) if line.startswith('{"id"') else {}
        if "changed_at" not in row:
            sys.stdout.write(line + "\n")
        elif row["changed_at"] >= newest:
            yield row, newest
            newest, sent = row["changed_at"], sent + 1
            if sent % config.get("state_every", 1_000_000) == 0:
                yield None, newest
    fail(config.get("fault", {}), sent)
    yield None, newest


def fail(fault: dict[str, Any], sent: int) -> None:
    """Simulate the configured fault after the configured number of rows."""
    kind = fault.get("kind") if fault.get("after") == sent else None
    if kind == "die":
        sys.exit(3)
    if kind == "half":
        sys.stdout.write('{"type": "RECORD", "stream": "ord')
        sys.stdout.flush()
        os._exit(0)
    if kind == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(fault["pids"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    if kind == "config":
        send(type="TRACE", trace={"type": "ERROR", "error": {"failure_type": "config_error", "message": "no such account"}})
        sys.exit(1)


if __name__ == "__main__":
    (airbyte if sys.argv[1] in AIRBYTE else singer)(read_option("config"))
