"""Signatures of webhooks, written from the vendors' documentation without the code under test."""

import base64
import hmac
from datetime import datetime


def sign_request(scheme: str, body: str, url: str, at: datetime, secret: str, name: str = "msg_1") -> dict[str, str]:
    """Return the headers with the signature of a POST and its other signed values; `name` is the id of Standard Webhooks."""
    seconds, raw = str(int(at.timestamp())), secret.encode()
    match scheme:
        case "standard":
            good = _base64(base64.b64decode(secret), f"{name}.{seconds}.{body}")
            return {"webhook-id": name, "webhook-timestamp": seconds, "webhook-signature": f"v1a,zzz v1,AAAA v1,{good}"}
        case "shopify":
            return {"X-Shopify-Hmac-SHA256": _base64(raw, body)}
        case "zendesk":
            moment = at.isoformat().replace("+00:00", "Z")
            return {
                "X-Zendesk-Webhook-Signature": _base64(raw, moment + body),
                "X-Zendesk-Webhook-Signature-Timestamp": moment,
            }
        case "hubspot":
            good = _base64(raw, f"POST{url}{body}{seconds}000")
            return {"X-HubSpot-Signature-v3": good, "X-HubSpot-Request-Timestamp": f"{seconds}000"}
        case "github":
            return {"X-Hub-Signature-256": f"sha256={_digest(raw, body).hex()}"}
        case _:
            good = _digest(raw, f"{seconds}.{body}").hex()
            return {"Stripe-Signature": f"t={seconds},v1={'0' * 64},v1={good},v0=abc"}


def _base64(secret: bytes, text: str) -> str:
    return base64.b64encode(_digest(secret, text)).decode()


def _digest(secret: bytes, text: str) -> bytes:
    return hmac.digest(secret, text.encode(), "sha256")
