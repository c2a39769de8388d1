"""Make a feed with feedgen: entries as JSON on stdin, the feed on stdout. Runs in the environment of `requirements.txt`.

python make.py rss|atom      an entry is {id, title, text, at}, by Ann; the newest is the last one
"""

import json
import sys

from feedgen.feed import FeedGenerator  # type: ignore[import-not-found]


def feed(entries: list[dict[str, str]]) -> FeedGenerator:
    """Return a weblog of these entries, newest first."""
    found = FeedGenerator()
    found.id("urn:weblog")
    found.title("Weblog")
    found.link(href="https://weblog.example/")
    found.description("What customers say")
    for each in entries:
        entry = found.add_entry()
        entry.id(each["id"])
        entry.title(each["title"])
        entry.content(f"<p>{each['text']}</p>", type="html")
        entry.author(name="Ann", email="ann@example.org")
        entry.published(each["at"])
        entry.updated(each["at"])
    return found


def main() -> None:
    """Read entries from stdin and write the feed to stdout."""
    found = feed(json.load(sys.stdin))
    sys.stdout.buffer.write(found.rss_str() if sys.argv[1] == "rss" else found.atom_str())


main()
