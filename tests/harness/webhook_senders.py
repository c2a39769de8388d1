"""Senders of webhooks: deliver the requests of a case to a connector that listens.

`requests.json` is a list of {method, path, headers, json, scheme}. A request with a `scheme` gets that vendor's
signature for the address `PUBLIC`. The key of every endpoint is `secret`; for Standard Webhooks it is base64.
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
from tests.harness.webhook_signatures import sign_request

TIMEOUT_SECONDS = 20
PUBLIC = "https://events.shop.example"
KEYS = {"standard": "c2VjcmV0"}


@contextmanager
def delivering(name: str, case: Path) -> Iterator[Connector]:
    """Open the connector with all requests of the case waiting for a response; each gets 200 at the end."""
    connector = open_with_keys(name, case.with_name("settings.yaml"))
    statuses: list[int] = []
    threads = []
    with closing(connector), patch.object(connector._inbox, "put", wraps=connector._inbox.put) as put:
        address = connector.listen(acknowledge=True)
        for number, request in enumerate(json.loads(case.read_text(encoding="utf-8")), 1):
            threads.append(threading.Thread(target=lambda one=request: statuses.append(send(address, one))))
            threads[-1].start()
            eventually(lambda count=number: put.call_count == count)  # type: ignore[misc]
        yield connector
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
    assert statuses == [200] * len(threads)


def open_with_keys(name: str, settings: Path) -> Any:
    """Open the connector of a settings file, with the keys of its endpoints in the environment."""
    given = yaml.safe_load(settings.read_text(encoding="utf-8"))
    for each, endpoint in given["endpoints"].items():
        os.environ[secret_variable(given["name"], f"{each}_keys")] = KEYS.get(endpoint["protocol"], "secret")
    return open_connector(name, settings, {})


def send(address: str, request: Mapping[str, Any]) -> int:
    """Send one request and return the status of the response."""
    body = json.dumps(request["json"]).encode() if "json" in request else None
    headers = request.get("headers", {})
    if scheme := request.get("scheme"):
        key, name = KEYS.get(scheme, "secret"), headers.get("webhook-id", "")
        headers = sign_request(scheme, (body or b"").decode(), PUBLIC + request["path"], datetime.now(UTC), key, name) | headers
    sent = urllib.request.Request(address + request["path"], body, headers, method=request.get("method", "POST"))
    with urllib.request.urlopen(sent, timeout=TIMEOUT_SECONDS) as found:
        return int(found.status)
