"""How six systems would export the same happenings: one module per system, each with its feeds and its `render`.

A vendor knows a customer by its own identifiers, and people type: addresses and numbers come in several spellings.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from random import Random

from deploy.demo.simulator.story import Happening
from deploy.demo.simulator.vendors import mastodon, qualtrics, salesforce, sap, warehouse, zendesk
from deploy.demo.simulator.vendors.record import Feed, Record

SYSTEMS = (salesforce, sap, warehouse, zendesk, qualtrics, mastodon)
FEEDS: dict[str, Feed] = {name: feed for system in SYSTEMS for name, feed in system.FEEDS.items()}
EXPORTER = {kind: system for system in SYSTEMS for kind in system.TYPES}


def render(happenings: Iterable[Happening], rng: Random) -> Iterator[Record]:
    """The record that the system in charge would export for each happening; `happenings` come in order of time."""
    numbers = count(1)
    for happening in happenings:
        yield EXPORTER[happening.type].render(happening, next(numbers), rng)
