"""Facts that only the simulator knows, as JSON Lines outside of the drop folder. The pipeline never reads them.

`customers.jsonl`: one customer per line, with clusters of exact identifiers, monthly satisfaction, joining and leaving.
`counts.jsonl`: the number of touchpoints per feed and type in the drop.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from deploy.demo.simulator.life import Life
from deploy.demo.simulator.vendors import FEEDS
from deploy.demo.simulator.vendors.record import Known, Record

Identifier = tuple[str, str]


def write(lives: Iterable[Life], records: Iterable[Record], folder: Path, end: datetime) -> None:
    """Write both truth files below `folder`, which is created. `end` is the end of the simulated time."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[int, list[Known]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        seen[record.event.person.number].append(record.known)
        counts[record.feed, record.event.type] += 1
    _lines(folder / "customers.jsonl", (_customer(life, find_clusters(seen[life.person.number]), end) for life in lives))
    _lines(
        folder / "counts.jsonl",
        (
            {"feed": feed, "source": FEEDS[feed].source, "type": kind, "rows": rows}
            for (feed, kind), rows in sorted(counts.items())
        ),
    )


def find_clusters(known: Iterable[Known]) -> list[list[Identifier]]:
    """Return the clusters of identifiers that share a record, directly or through others: the best result of exact matching."""
    found: list[set[Identifier]] = []
    for together in known:
        joined = set(together).union(*(one for one in found if one & set(together)))
        found = [one for one in found if not one & joined] + [joined]
    return sorted(sorted(one) for one in found)


def _customer(life: Life, found: list[list[Identifier]], end: datetime) -> dict[str, object]:
    return {
        "customer": life.person.name,
        "segment": life.person.segment,
        "clusters": found,
        "first_at": life.first_at.isoformat(timespec="seconds"),
        "joined_at": life.joined_at and life.joined_at.isoformat(timespec="seconds"),
        "left_at": life.left_at and life.left_at.isoformat(timespec="seconds"),
        "exit": life.exit,
        "touchpoints": len(life.events),
        "satisfaction": [
            {"at": at.date().isoformat(), "value": round(life.satisfaction.level(at), 2)} for at in _months(life, end)
        ],
    }


def _months(life: Life, end: datetime) -> Iterator[datetime]:
    """Yield the first of each month from the first contact to the end or to the time of leaving."""
    at = life.first_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while True:
        at = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
        if at > (life.left_at or end):
            return
        yield at


def _lines(path: Path, rows: Iterable[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
