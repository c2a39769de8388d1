"""Social media: public statuses as a Mastodon server returns them, with handle and HTML text."""

from html import escape
from random import Random

from deploy.demo.simulator.timeline import Event
from deploy.demo.simulator.vendors.record import Feed, Record, format_time_ms

FEEDS = {
    "statuses": Feed(
        "social",
        "social/statuses",
        "jsonl",
        ("id", "created_at", "account", "content", "language", "visibility", "in_reply_to_id", "tags"),
    )
}
TYPES = ("post.published", "referral.made")


def render(event: Event, number: int, rng: Random) -> Record:
    """Return the status of one event. A referral has the company's referral tag."""
    handle = event.person.handle
    assert handle is not None
    tag = "referral" if event.type == "referral.made" else rng.choice(("fibre", "internet"))
    text = escape(str(event.facts["text"]), quote=False)
    values = {
        "id": str(112_000_000_000_000_000 + number),
        "created_at": format_time_ms(event.at),
        "account": {"acct": handle, "url": f"https://social.example/@{handle.partition('@')[0]}"},
        "content": f'<p>{text} <a href="https://social.example/tags/{tag}">#<span>{tag}</span></a></p>',
        "language": "en",
        "visibility": "public",
        "in_reply_to_id": None,
        "tags": [{"name": tag}],
    }
    return Record("statuses", event.at, event, values, (("social_handle", handle),))
