"""Social media: public statuses as a Mastodon server returns them, by handle, their text as HTML."""

from html import escape
from random import Random

from deploy.demo.simulator.story import Happening
from deploy.demo.simulator.vendors.record import Feed, Record, zulu_millis

FEEDS = {
    "statuses": Feed(
        "social",
        "social/statuses",
        "jsonl",
        ("id", "created_at", "account", "content", "language", "visibility", "in_reply_to_id", "tags"),
    )
}
TYPES = ("post.published", "referral.made")


def render(happening: Happening, number: int, rng: Random) -> Record:
    """The status of one happening; a referral carries the company's referral tag."""
    handle = happening.person.handle
    assert handle is not None
    tag = "referral" if happening.type == "referral.made" else rng.choice(("fibre", "internet"))
    text = escape(str(happening.facts["text"]), quote=False)
    values = {
        "id": str(112_000_000_000_000_000 + number),
        "created_at": zulu_millis(happening.at),
        "account": {"acct": handle, "url": f"https://social.example/@{handle.partition('@')[0]}"},
        "content": f'<p>{text} <a href="https://social.example/tags/{tag}">#<span>{tag}</span></a></p>',
        "language": "en",
        "visibility": "public",
        "in_reply_to_id": None,
        "tags": [{"name": tag}],
    }
    return Record("statuses", happening.at, happening, values, (("social_handle", handle),))
