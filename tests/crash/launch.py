"""The `touchline` command with crash points: `python -m tests.crash.launch FOLDER work --name one`.

The calls of `points.py` are wrapped from outside; the code under test has no hooks. The file FOLDER/<kind>.order holds the name
of a point and a number of passes. The process that passes the point once more removes the file and dies at once. FOLDER/passed
lists every point that any process has passed.
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
    """The current chunk: its stage, and the number of each call made for it."""

    def __init__(self, stage: str = "") -> None:
        self.stage = stage
        self.turns: Counter[str] = Counter()


CHUNK: ContextVar[Chunk] = ContextVar("CHUNK")


def current_chunk() -> Chunk:
    """Return the current chunk; a call outside of any chunk gets a new one."""
    return CHUNK.get(None) or Chunk()


class CrashPoints:
    """Records the points that this process passes, and ends it at the ordered one."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.order = folder / f"{kind}.order"
        self.passed = folder / "passed"
        self.known: set[str] = set()
        self.passes: Counter[str] = Counter()

    def pass_points(self, points: list[Point], turn: int, *, before: bool) -> None:
        """Record the points that match; die if one of them is ordered."""
        for point in points:
            if point.before == before and point.stage in ("", current_chunk().stage) and point.turn in (0, turn):
                self._note(point.name)
                self._die_if_ordered(point.name)

    def _note(self, name: str) -> None:
        if name not in self.known:
            self.known.add(name)
            with self.passed.open("a") as passed:
                passed.write(f"{name}\n")

    def _die_if_ordered(self, name: str) -> None:
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
            return  # there is no order, or another process was faster


def wrap_call(original: Call, call: str, points: list[Point], crash_points: CrashPoints) -> Call:
    """Return `original` with its points before and after it."""

    def turn() -> int:
        turns = current_chunk().turns
        turns[call] += 1
        return turns[call]

    @functools.wraps(original)
    def plain(*arguments: Any, **named: Any) -> Any:
        crash_points.pass_points(points, now := turn(), before=True)
        result = original(*arguments, **named)
        crash_points.pass_points(points, now, before=False)
        return result

    @functools.wraps(original)
    async def waiting(*arguments: Any, **named: Any) -> Any:
        crash_points.pass_points(points, now := turn(), before=True)
        result = await original(*arguments, **named)
        crash_points.pass_points(points, now, before=False)
        return result

    return waiting if inspect.iscoroutinefunction(original) else plain


def mark_chunk_begin(original: Call) -> Call:
    """Return `original` as the first call of a new chunk."""

    @functools.wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        CHUNK.set(Chunk(arguments[0].step.name if hasattr(arguments[0], "step") else ""))
        return original(*arguments, **named)

    return call


def resolve_call(call: str) -> tuple[Any, str]:
    """Return the module or class that holds a call, and its name there."""
    module, _, path = call.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def replace(call: str, change: Callable[[Call], Call]) -> None:
    """Replace the function that is called by a changed one."""
    owner, name = resolve_call(call)
    setattr(owner, name, change(getattr(owner, name)))


def arm(folder: Path, kind: str) -> None:
    """Wrap every call that has a point in this kind of process."""
    crash_points = CrashPoints(folder, kind)
    calls: defaultdict[str, list[Point]] = defaultdict(list)
    for point in POINTS.values():
        if point.kind == kind:
            calls[point.call].append(point)
    for call, points in calls.items():
        replace(call, functools.partial(wrap_call, call=call, points=points, crash_points=crash_points))
    if kind in CHUNK_BEGINS:
        replace(CHUNK_BEGINS[kind], mark_chunk_begin)


def commit_often(build: Call) -> Call:
    """Make a worker commit twenty times a second; otherwise a commit ahead of the work is hardly ever seen."""

    @functools.wraps(build)
    def call(*arguments: Any, **named: Any) -> Any:
        app = build(*arguments, **named)
        app.conf.broker_commit_interval = COMMIT_SECONDS
        return app

    return call


if __name__ == "__main__":
    from deploy.cli import main

    arm(Path(sys.argv[1]), sys.argv[2])
    replace("streams.pipeline:build_app", commit_often)
    sys.argv = ["touchline", *sys.argv[2:]]
    main()
