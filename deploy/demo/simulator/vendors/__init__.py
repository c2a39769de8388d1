"""Exports of six systems: one module per system, each with its feeds and its function `render`.

Each vendor knows a customer by its own identifiers. Addresses and numbers come in several spellings, as typed by people.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from random import Random

from deploy.demo.simulator.timeline import Event
from deploy.demo.simulator.vendors import mastodon, qualtrics, salesforce, sap, warehouse, zendesk
from deploy.demo.simulator.vendors.record import Feed, Record

SYSTEMS = (salesforce, sap, warehouse, zendesk, qualtrics, mastodon)
FEEDS: dict[str, Feed] = {name: feed for system in SYSTEMS for name, feed in system.FEEDS.items()}
EXPORTER = {kind: system for system in SYSTEMS for kind in system.TYPES}


def render(events: Iterable[Event], rng: Random) -> Iterator[Record]:
    """Yield the record that the responsible system exports for each event, in the order of `events`."""
    numbers = count(1)
    for event in events:
        yield EXPORTER[event.type].render(event, next(numbers), rng)
