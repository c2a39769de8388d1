"""What only the simulator knows, as JSON Lines beside the drop folder: for tests and bars, never read by the pipeline.

`customers.jsonl`: one latent customer a line: exact-identifier clusters, monthly satisfaction, joining and leaving.
`counts.jsonl`: how many touchpoints of each feed and type the drop holds.
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
    """Both truth files below `folder`, which is made; `end` is the end of the simulated time."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[int, list[Known]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        seen[record.happening.person.number].append(record.known)
        counts[record.feed, record.happening.type] += 1
    _lines(folder / "customers.jsonl", (_customer(life, clusters(seen[life.person.number]), end) for life in lives))
    _lines(
        folder / "counts.jsonl",
        (
            {"feed": feed, "source": FEEDS[feed].source, "type": kind, "rows": rows}
            for (feed, kind), rows in sorted(counts.items())
        ),
    )


def clusters(known: Iterable[Known]) -> list[list[Identifier]]:
    """Identifiers joined wherever one record holds several of them: what exact matching can find, and no more."""
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
        "touchpoints": len(life.happenings),
        "satisfaction": [{"at": at.date().isoformat(), "value": round(life.mood.level(at), 2)} for at in _months(life, end)],
    }


def _months(life: Life, end: datetime) -> Iterator[datetime]:
    """The first of each month while the person was in touch with the company."""
    at = life.first_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while True:
        at = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
        if at > (life.left_at or end):
            return
        yield at


def _lines(path: Path, rows: Iterable[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
