"""Signature schemes of webhooks as data: the signed parts, the headers of signature and delivery id, and the event's time.

A signature is HMAC-SHA256 over the unchanged body, compared in constant time. A signed time must be within five minutes of the
local clock, so that an old delivery cannot be replayed.
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

MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)
Header = tuple[str, str]


class Scheme(NamedTuple):
    """`signature` and `time` are a header and a pattern that finds each candidate in it; `signed` lists the signed parts.

    `id` and `topic` are the headers with the delivery's id and kind. `key` is the expression of a record's key, for vendors whose
    delivery id differs between attempts. `triggered` is the header with the event's time and `occurred_at` the expression of it.
    `occurred_at` uses `happened_at`, the time of receipt, only for vendors that send no time, because each attempt has another.
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
    occurred_at: str = "happened_at"
    encoded_secret: bool = False


SCHEMES = {
    "standard": Scheme(
        signature=("webhook-signature", r"v1,([^\s,]+)"),
        time=("webhook-timestamp", r"(\d+)"),
        signed=("webhook-id", ".", "webhook-timestamp", ".", "body"),
        id="webhook-id",
        occurred_at="type(body.timestamp) == 'string' && iso(body.timestamp, 'UTC') || happened_at",
        encoded_secret=True,
    ),
    "shopify": Scheme(
        signature=("X-Shopify-Hmac-Sha256", r"(\S+)"),
        signed=("body",),
        id="X-Shopify-Webhook-Id",
        topic="X-Shopify-Topic",
        triggered="X-Shopify-Triggered-At",
        occurred_at="iso(triggered, 'UTC') || happened_at",
    ),
    "zendesk": Scheme(
        signature=("X-Zendesk-Webhook-Signature", r"(\S+)"),
        time=("X-Zendesk-Webhook-Signature-Timestamp", r"(\S+)"),
        unit="iso",
        signed=("X-Zendesk-Webhook-Signature-Timestamp", "body"),
        id="X-Zendesk-Webhook-Invocation-Id",
        occurred_at="body.zendesk_event_version && iso(body.time, 'UTC') || happened_at",
    ),
    "hubspot": Scheme(
        signature=("X-HubSpot-Signature-v3", r"(\S+)"),
        time=("X-HubSpot-Request-Timestamp", r"(\d+)"),
        unit="ms",
        signed=("method", "url", "body", "X-HubSpot-Request-Timestamp"),
        key="body.eventId && join('-', [body.eventId, body.subscriptionId, body.occurredAt][].to_string(@)) || id",
        occurred_at="epoch_ms(body.occurredAt) || happened_at",
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
            " || iso(body.created, 'UTC') || happened_at"
        ),
    ),
}


def find_signing_key(scheme: Scheme, request: Request, url: str, secrets: Sequence[SecretStr]) -> int | None:
    """Return the number of the secret that signed the request; None for a wrong signature or a signed time that is too far away.

    `url` is the address of the request as the sender knows it.
    """
    header, pattern = scheme.signature
    given = re.findall(pattern, request.headers.get(header, ""), re.ASCII)
    moment = _read_signed_time(scheme, request)
    if scheme.time and (moment is None or not _is_recent(moment, scheme.unit, request.at)):
        return None
    parts = {"body": request.body, "method": request.method.encode(), "url": url.encode(), "time": (moment or "").encode()}
    signed = b"".join(parts[part] if part in parts else _read_part(part, request) for part in scheme.signed)
    for number, secret in enumerate(secrets):
        wanted = hmac.digest(decode_key(scheme, secret), signed, "sha256")
        expected = wanted.hex() if scheme.encoding == "hex" else base64.b64encode(wanted).decode()
        if any(hmac.compare_digest(expected.encode(), one.encode()) for one in given):
            return number
    return None


def decode_key(scheme: Scheme, secret: SecretStr) -> bytes:
    """Return the bytes of a secret. Raises ConfigError if the scheme requires base64 and the secret is not."""
    text = secret.get_secret_value()
    if not scheme.encoded_secret:
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ConfigError("a key of a Standard Webhooks endpoint must be base64, with or without the prefix whsec_") from None


def _read_part(part: str, request: Request) -> bytes:
    return b"." if part == "." else request.headers.get(part, "").encode("utf-8", "surrogateescape")


def _read_signed_time(scheme: Scheme, request: Request) -> str | None:
    if scheme.time is None:
        return None
    match = re.search(scheme.time[1], request.headers.get(scheme.time[0], ""), re.ASCII)
    return match.group(1) if match else None


def _is_recent(moment: str, unit: str, now: datetime) -> bool:
    second = 1_000 if unit == "ms" else 1
    try:
        at = datetime.fromisoformat(moment) if unit == "iso" else datetime.fromtimestamp(int(moment) / second, UTC)
        return abs(now - (at if at.tzinfo else at.replace(tzinfo=UTC))) <= MAX_CLOCK_DIFFERENCE
    except (ValueError, OverflowError, OSError):
        return False
