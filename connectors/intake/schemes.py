"""How webhooks are signed, as data: what is signed, where the signature stands, what names the delivery, and when it happened.

A signature is HMAC-SHA256 over the body as it came, compared in constant time. Where the scheme signs a time, it must lie within
five minutes of ours; the signature of an old delivery is worth nothing then.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import SecretStr

from connectors.intake.request import Request
from schemas.errors import ConfigError

TOLERANCE = timedelta(minutes=5)
Header = tuple[str, str]


class Scheme(NamedTuple):
    """`signature` and `time` are a header and the pattern that finds each candidate in it; `signed` what is signed.

    `id` and `topic` are the headers that name the delivery and its kind; `key` is the expression of a record's key where the
    delivery has no name that stays the same when it is sent again. `triggered` is the header with the event's own time,
    `occurred_at` the expression of that time: of `happened`, our receipt, only where the vendor tells none, because a delivery
    that is sent again has another.
    """

    signature: Header
    signed: tuple[str, ...]
    encoding: Literal["base64", "hex"] = "base64"
    time: Header | None = None
    unit: Literal["s", "ms", "iso"] = "s"
    id: str = ""
    topic: str = ""
    key: str = "id"
    triggered: str = ""
    occurred_at: str = "happened"
    encoded_secret: bool = False


SCHEMES = {
    "standard": Scheme(
        signature=("webhook-signature", r"v1,([^\s,]+)"),
        time=("webhook-timestamp", r"(\d+)"),
        signed=("webhook-id", ".", "webhook-timestamp", ".", "body"),
        id="webhook-id",
        occurred_at="type(body.timestamp) == 'string' && iso(body.timestamp, 'UTC') || happened",
        encoded_secret=True,
    ),
    "shopify": Scheme(
        signature=("X-Shopify-Hmac-Sha256", r"(\S+)"),
        signed=("body",),
        id="X-Shopify-Webhook-Id",
        topic="X-Shopify-Topic",
        triggered="X-Shopify-Triggered-At",
        occurred_at="iso(triggered, 'UTC') || happened",
    ),
    "zendesk": Scheme(
        signature=("X-Zendesk-Webhook-Signature", r"(\S+)"),
        time=("X-Zendesk-Webhook-Signature-Timestamp", r"(\S+)"),
        unit="iso",
        signed=("X-Zendesk-Webhook-Signature-Timestamp", "body"),
        id="X-Zendesk-Webhook-Invocation-Id",
        occurred_at="body.zendesk_event_version && iso(body.time, 'UTC') || happened",
    ),
    "hubspot": Scheme(
        signature=("X-HubSpot-Signature-v3", r"(\S+)"),
        time=("X-HubSpot-Request-Timestamp", r"(\d+)"),
        unit="ms",
        signed=("method", "url", "body", "X-HubSpot-Request-Timestamp"),
        key="body.eventId && join('-', [body.eventId, body.subscriptionId, body.occurredAt][].to_string(@)) || id",
        occurred_at="epoch_ms(body.occurredAt) || happened",
    ),
    "github": Scheme(
        signature=("X-Hub-Signature-256", r"sha256=([0-9a-f]+)"),
        signed=("body",),
        encoding="hex",
        id="X-GitHub-Delivery",
        topic="X-GitHub-Event",
    ),
    "stripe": Scheme(
        signature=("Stripe-Signature", r"v1=([0-9a-f]+)"),
        time=("Stripe-Signature", r"t=(\d+)"),
        signed=("time", ".", "body"),
        encoding="hex",
        key="id(body.id) || id",
        occurred_at=(
            "type(body.created) == 'number' && epoch_ms(join('', [id(body.created), '000']))"
            " || iso(body.created, 'UTC') || happened"
        ),
    ),
}


def signer(scheme: Scheme, request: Request, url: str, secrets: Sequence[SecretStr]) -> int | None:
    """Which of the secrets signed the request, by its number; None where none did, or too long ago, or in the future.

    `url` is the request's address as the sender knows it.
    """
    header, pattern = scheme.signature
    given = re.findall(pattern, request.headers.get(header, ""), re.ASCII)
    moment = _time(scheme, request)
    if scheme.time and (moment is None or not _recent(moment, scheme.unit, request.at)):
        return None
    parts = {"body": request.body, "method": request.method.encode(), "url": url.encode(), "time": (moment or "").encode()}
    signed = b"".join(parts[part] if part in parts else _literal(part, request) for part in scheme.signed)
    for number, secret in enumerate(secrets):
        wanted = hmac.digest(key_bytes(scheme, secret), signed, "sha256")
        expected = wanted.hex() if scheme.encoding == "hex" else base64.b64encode(wanted).decode()
        if any(hmac.compare_digest(expected.encode(), one.encode()) for one in given):
            return number
    return None


def key_bytes(scheme: Scheme, secret: SecretStr) -> bytes:
    """The bytes of a secret. Raises ConfigError where the scheme wants base64 and it is none."""
    text = secret.get_secret_value()
    if not scheme.encoded_secret:
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ConfigError("a key of a Standard Webhooks endpoint must be base64, with or without whsec_ before it") from None


def _literal(part: str, request: Request) -> bytes:
    return b"." if part == "." else request.headers.get(part, "").encode("utf-8", "surrogateescape")


def _time(scheme: Scheme, request: Request) -> str | None:
    if scheme.time is None:
        return None
    found = re.search(scheme.time[1], request.headers.get(scheme.time[0], ""), re.ASCII)
    return found.group(1) if found else None


def _recent(moment: str, unit: str, now: datetime) -> bool:
    second = 1_000 if unit == "ms" else 1
    try:
        at = datetime.fromisoformat(moment) if unit == "iso" else datetime.fromtimestamp(int(moment) / second, UTC)
        return abs(now - (at if at.tzinfo else at.replace(tzinfo=UTC))) <= TOLERANCE
    except (ValueError, OverflowError, OSError):
        return False
