"""Send some events with one original Python library: `python send.py LIBRARY ADDRESS KEY`.

Runs in the environment of requirements.txt. Fails if the library reports that it could not deliver.
"""

import sys
import urllib.request
from datetime import UTC, datetime
from typing import Any


def segment(address: str, key: str) -> None:
    """Send one event of each call, compressed and uncompressed."""
    from segment.analytics import Client

    for compressed in (False, True):
        client = Client(key, host=address, gzip=compressed, on_error=report_failure, max_retries=3)
        person = f"segment-{compressed}"
        client.identify(person, {"email": f"{person}@shop.example", "phone": "+1 555 0100 100"})
        client.track(person, "Order Completed", {"order_id": "o9", "total": 12.5, "when": datetime.now(UTC)})
        client.page(anonymous_id=f"anon-{compressed}", name="Pricing", properties={"url": "https://shop.example/pricing"})
        client.screen(anonymous_id=f"anon-{compressed}", name="Home")
        client.group(person, "acct-3", {"plan": "pro"})
        client.alias(f"anon-{compressed}", person)
        client.flush()
        client.shutdown()


def rudder(address: str, key: str) -> None:
    """Send a track and an identify, compressed by default."""
    from rudderstack import analytics

    analytics.write_key, analytics.dataPlaneUrl, analytics.on_error = key, address, report_failure
    analytics.track("rudder", "Product Viewed", {"sku": "p1"})
    analytics.identify("rudder", {"email": "rudder@shop.example"})
    analytics.flush()
    analytics.shutdown()


def snowplow(address: str, key: str) -> None:
    """Send a page view with a context, a self-describing and a structured event: POST in base64, GET in plain text."""
    from snowplow_tracker import (
        Emitter,
        PageView,
        SelfDescribing,
        SelfDescribingJson,
        StructuredEvent,
        Subject,
        Tracker,
    )

    for method in ("post", "get"):
        host, _, port = address.removeprefix("http://").partition(":")
        emitter = Emitter(
            host, port=int(port), protocol="http", method=method, batch_size=1, on_failure=lambda *_: report_failure("snowplow")
        )
        subject = Subject().set_user_id(f"snowplow-{method}").set_domain_user_id(f"browser-{method}")
        tracker = Tracker("site", emitter, subject=subject, app_id="shop", encode_base64=method == "post")
        person = SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"email": f"snowplow-{method}@shop.example"})
        tracker.track(PageView(page_url="https://shop.example/p", page_title="P", context=[person]))
        click = SelfDescribingJson("iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1", {"targetUrl": "https://x"})
        tracker.track(SelfDescribing(click))
        tracker.track(StructuredEvent("shop", "add-to-basket", "label", "property", 2.0))
        tracker.flush()


def cloudevents(address: str, key: str) -> None:
    """Send one event in each mode: binary, structured, and a batch of two."""
    from cloudevents.core.bindings.http import to_binary_event, to_structured_event
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    def event(name: str) -> Any:
        attributes = {"id": name, "source": "/billing", "type": "example.invoice.issued", "specversion": "1.0", "subject": "p-1"}
        return CloudEvent(
            {**attributes, "datacontenttype": "application/json", "time": datetime.now(UTC)}, {"number": name, "total": 12.5}
        )

    for message in (to_binary_event(event("b"), JSONFormat()), to_structured_event(event("s"), JSONFormat())):
        post(f"{address}/cloudevents/billing", dict(message.headers), message.body, key)
    batch = b",".join(to_structured_event(event(name), JSONFormat()).body for name in ("x", "y"))
    post(f"{address}/cloudevents/billing", {"Content-Type": "application/cloudevents-batch+json"}, b"[%b]" % batch, key)


def standardwebhooks(address: str, key: str) -> None:
    """Send a signed delivery twice."""
    from standardwebhooks import Webhook

    body, now = '{"type": "ticket.opened", "ticket": 7, "email": "standard@shop.example"}', datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(key).sign("msg_1", now, body),
    }
    for _ in range(2):
        post(f"{address}/webhooks/desk", headers, body.encode(), None)


def post(address: str, headers: dict[str, str], body: bytes, key: str | None) -> None:
    """Post a body. Raises HTTPError if the answer is not 2xx."""
    sent = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}
    with urllib.request.urlopen(urllib.request.Request(address, body, sent), timeout=20) as answer:
        answer.read()


def report_failure(error: object, *_: object) -> None:
    """Record that a library could not deliver; the process then ends with an error."""
    FAILURES.append(error)


FAILURES: list[object] = []
if __name__ == "__main__":
    {each.__name__: each for each in (segment, rudder, snowplow, cloudevents, standardwebhooks)}[sys.argv[1]](*sys.argv[2:])
    sys.exit(f"not delivered: {FAILURES}" if FAILURES else 0)
