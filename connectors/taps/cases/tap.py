"""A tap after the specifications of Singer and of Airbyte, for tests: it sends the lines of a file and can fail in every way.

Config: `rows` (a file of JSON lines; those without `changed_at` are sent as they are), `key`, `state_every` (rows), and
`trouble`: {`what`: die, half, hang, fix or wrong, `after`: rows}.
It goes on at the newest `changed_at`: those rows come again.
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


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def given(name: str) -> Any:
    """What stands in the file of an option; None without it."""
    options = dict(zip(sys.argv, sys.argv[1:], strict=False))
    return json.loads(Path(options[f"--{name}"]).read_text(encoding="utf-8")) if f"--{name}" in options else None


def singer(config: dict[str, Any]) -> None:
    if "--discover" in sys.argv:
        metadata = [{"breadcrumb": [], "metadata": {"inclusion": "available", "table-key-properties": config.get("key", [])}}]
        say(streams=[{"tap_stream_id": "shop-orders", "stream": "orders", "schema": SCHEMA, "metadata": metadata}])
        return
    (stream,) = given("catalog")["streams"]
    assert stream["metadata"][0]["metadata"]["selected"]
    say(type="SCHEMA", stream="orders", schema=SCHEMA, key_properties=config.get("key", []), bookmark_properties=["changed_at"])
    newest = (given("state") or {}).get("bookmarks", {}).get("shop-orders", "")
    for row, bookmark in rows(config, newest):
        if row is not None:
            say(type="RECORD", stream="orders", record=row, time_extracted=time.strftime("%Y-%m-%dT%H:%M:%SZ"))
        else:
            say(type="STATE", value={"bookmarks": {"shop-orders": bookmark}})


def airbyte(config: dict[str, Any]) -> None:
    say(type="LOG", log={"level": "INFO", "message": "at work"})
    if sys.argv[1] == "check":
        wrong = config.get("trouble", {}).get("what") == "wrong"
        say(type="CONNECTION_STATUS", connectionStatus={"status": "FAILED" if wrong else "SUCCEEDED", "message": "as asked"})
        return
    if sys.argv[1] == "discover":
        key = [[column] for column in config.get("key", [])]
        modes = ["full_refresh", "incremental"]
        stream = {"name": "orders", "json_schema": SCHEMA, "supported_sync_modes": modes, "source_defined_primary_key": key}
        say(type="CATALOG", catalog={"streams": [stream]})
        return
    (stream,) = given("catalog")["streams"]
    assert stream["sync_mode"] == "incremental"
    (saved,) = given("state") or [{"stream": {"stream_state": {}}}]
    descriptor = {"name": stream["stream"]["name"]}
    for row, bookmark in rows(config, saved["stream"]["stream_state"].get("changed_at", "")):
        if row is not None:
            say(type="RECORD", record={"stream": "orders", "data": row, "emitted_at": int(time.time() * 1_000)})
        else:
            state = {"stream_descriptor": descriptor, "stream_state": {"changed_at": bookmark}}
            say(type="STATE", state={"type": "STREAM", "stream": state})


def rows(config: dict[str, Any], newest: str) -> Any:
    """(row, _) and (None, newest) in turn: rows that changed at `newest` or later, and states."""
    sent = 0
    for line in Path(config["rows"]).read_text(encoding="utf-8").splitlines():
        trouble(config.get("trouble", {}), sent)
        row = json.loads(line) if line.startswith('{"id"') else {}
        if "changed_at" not in row:
            sys.stdout.write(line + "\n")
        elif row["changed_at"] >= newest:
            yield row, newest
            newest, sent = row["changed_at"], sent + 1
            if sent % config.get("state_every", 1_000_000) == 0:
                yield None, newest
    trouble(config.get("trouble", {}), sent)
    yield None, newest


def trouble(wanted: dict[str, Any], sent: int) -> None:
    """What the config wants to go wrong after so many rows."""
    what = wanted.get("what") if wanted.get("after") == sent else None
    if what == "die":
        sys.exit(3)
    if what == "half":
        sys.stdout.write('{"type": "RECORD", "stream": "ord')
        sys.stdout.flush()
        os._exit(0)
    if what == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(wanted["pids"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    if what == "fix":
        say(type="TRACE", trace={"type": "ERROR", "error": {"failure_type": "config_error", "message": "no such account"}})
        sys.exit(1)


if __name__ == "__main__":
    (airbyte if sys.argv[1] in AIRBYTE else singer)(given("config"))
