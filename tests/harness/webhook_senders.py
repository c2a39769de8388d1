"""A connector that is sent its records, with the requests of a case at its door: `requests.json`, a list of
{method, path, headers, json, scheme}; with a `scheme`, the request is signed as that vendor does it, as from `PUBLIC`.
Its endpoints' keys are all `secret`, of Standard Webhooks in base64.
"""

import json
import os
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from connectors.contract import Connector
from connectors.settings import open_connector, secret_variable
from tests.harness.waiting import eventually
from tests.harness.webhook_signatures import signed

PATIENCE = 20
PUBLIC = "https://events.shop.example"
KEYS = {"standard": "c2VjcmV0"}


@contextmanager
def sending(name: str, case: Path) -> Iterator[Connector]:
    """The connector, listening, with all requests of the case waiting for its answer; each is answered with 200 at the end."""
    connector = opened(name, case.with_name("settings.yaml"))
    answers: list[int] = []
    threads = []
    with closing(connector), patch.object(connector._inbox, "put", wraps=connector._inbox.put) as put:
        address = connector.listen(acknowledge=True)
        for number, request in enumerate(json.loads(case.read_text(encoding="utf-8")), 1):
            threads.append(threading.Thread(target=lambda one=request: answers.append(answer(address, one))))
            threads[-1].start()
            eventually(lambda count=number: put.call_count == count)  # type: ignore[misc]
        yield connector
        for thread in threads:
            thread.join(PATIENCE)
    assert answers == [200] * len(threads)


def opened(name: str, settings: Path) -> Any:
    """The connector of a settings file, its endpoints' keys in the environment while it begins to listen."""
    given = yaml.safe_load(settings.read_text(encoding="utf-8"))
    for each, endpoint in given["endpoints"].items():
        os.environ[secret_variable(given["name"], f"{each}_keys")] = KEYS.get(endpoint["protocol"], "secret")
    return open_connector(name, settings, {})


def answer(address: str, request: Mapping[str, Any]) -> int:
    """The status that a request is answered with."""
    body = json.dumps(request["json"]).encode() if "json" in request else None
    headers = request.get("headers", {})
    if scheme := request.get("scheme"):
        key, name = KEYS.get(scheme, "secret"), headers.get("webhook-id", "")
        headers = signed(scheme, (body or b"").decode(), PUBLIC + request["path"], datetime.now(UTC), key, name) | headers
    sent = urllib.request.Request(address + request["path"], body, headers, method=request.get("method", "POST"))
    with urllib.request.urlopen(sent, timeout=PATIENCE) as found:
        return int(found.status)
