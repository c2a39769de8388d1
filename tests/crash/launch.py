"""The `touchline` command with crash points: `python -m tests.crash.launch FOLDER work --name one`.

The calls of `points.py` are wrapped from outside, so that the code under test knows of nothing. The file FOLDER/<kind>.order
holds the name of a point and how often a process passes it alive; the one that passes it then takes the file away and dies
on the spot. FOLDER/passed names every point that was passed by anyone.
"""

import functools
import importlib
import inspect
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tests.crash.points import CHUNK_BEGINS, POINTS, Point

DIED = 137
COMMIT_SECONDS = 0.05
Call = Callable[..., Any]


class Chunk:
    """What is in hand: the stage it is in, and how often each call was made for it."""

    def __init__(self, stage: str = "") -> None:
        self.stage = stage
        self.turns: Counter[str] = Counter()


CHUNK: ContextVar[Chunk] = ContextVar("CHUNK")


def chunk() -> Chunk:
    """The chunk in hand; calls outside of any count for one of their own."""
    return CHUNK.get(None) or Chunk()


class Doom:
    """Watches one process pass its points."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.order = folder / f"{kind}.order"
        self.passed = folder / "passed"
        self.known: set[str] = set()
        self.passes: Counter[str] = Counter()

    def passing(self, points: list[Point], turn: int, *, before: bool) -> None:
        """Die here if one of `points` is the one that was ordered."""
        for point in points:
            if point.before == before and point.stage in ("", chunk().stage) and point.turn in (0, turn):
                self._note(point.name)
                self._obey(point.name)

    def _note(self, name: str) -> None:
        if name not in self.known:
            self.known.add(name)
            with self.passed.open("a") as passed:
                passed.write(f"{name}\n")

    def _obey(self, name: str) -> None:
        try:
            order = self.order.read_text()
            wanted, _, alive = order.partition(" ")
            if wanted != name:
                return
            self.passes[order] += 1
            if self.passes[order] > int(alive):
                self.order.unlink()
                os._exit(DIED)
        except FileNotFoundError:
            return  # nobody is to die, or another process was quicker


def wrapped(original: Call, call: str, points: list[Point], doom: Doom) -> Call:
    """`original` with its points before and after it."""

    def turn() -> int:
        turns = chunk().turns
        turns[call] += 1
        return turns[call]

    @functools.wraps(original)
    def plain(*arguments: Any, **named: Any) -> Any:
        doom.passing(points, now := turn(), before=True)
        result = original(*arguments, **named)
        doom.passing(points, now, before=False)
        return result

    @functools.wraps(original)
    async def waiting(*arguments: Any, **named: Any) -> Any:
        doom.passing(points, now := turn(), before=True)
        result = await original(*arguments, **named)
        doom.passing(points, now, before=False)
        return result

    return waiting if inspect.iscoroutinefunction(original) else plain


def beginning(original: Call) -> Call:
    """`original` as the first call of a new chunk."""

    @functools.wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        CHUNK.set(Chunk(arguments[0].step.name if hasattr(arguments[0], "step") else ""))
        return original(*arguments, **named)

    return call


def place(call: str) -> tuple[Any, str]:
    """The module or class that holds a call, and its name there."""
    module, _, path = call.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def replace(call: str, change: Callable[[Call], Call]) -> None:
    """Put a changed function in the place of the one that is called."""
    owner, name = place(call)
    setattr(owner, name, change(getattr(owner, name)))


def arm(folder: Path, kind: str) -> None:
    """Wrap every call that has a point in this kind of process."""
    doom = Doom(folder, kind)
    calls: defaultdict[str, list[Point]] = defaultdict(list)
    for point in POINTS.values():
        if point.kind == kind:
            calls[point.call].append(point)
    for call, points in calls.items():
        replace(call, functools.partial(wrapped, call=call, points=points, doom=doom))
    if kind in CHUNK_BEGINS:
        replace(CHUNK_BEGINS[kind], beginning)


def hasty(build: Call) -> Call:
    """A worker's app that commits twenty times a second: a commit that runs ahead of the work is hardly ever seen otherwise."""

    @functools.wraps(build)
    def call(*arguments: Any, **named: Any) -> Any:
        app = build(*arguments, **named)
        app.conf.broker_commit_interval = COMMIT_SECONDS
        return app

    return call


if __name__ == "__main__":
    from deploy.cli import main

    arm(Path(sys.argv[1]), sys.argv[2])
    replace("streams.pipeline:build_app", hasty)
    sys.argv = ["touchline", *sys.argv[2:]]
    main()
