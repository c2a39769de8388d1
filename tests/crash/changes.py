"""Decisions on identities and rebuilds while the line is injured.

A decision that took no effect is sent again with the same id. A rebuild that fails or is killed is followed by others.
"""

import asyncio
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from deploy.identity.decisions import make_decision, send_decisions
from schemas.errors import RetryableError
from schemas.records.identifiers import identifier_id
from schemas.records.identity import Action
from schemas.service.connection import KafkaSettings
from tests.crash.drops import Drops
from tests.crash.families import decide, mail_of
from tests.crash.identity import Decision, Identifier
from tests.crash.line import LineError
from tests.harness.stack import TOUCHLINE

DECIDE_SECONDS, POLL_SECONDS = 15.0, 0.1
REBUILD_PAUSE_SECONDS = (1.0, 8.0)
KILL_AFTER_SECONDS = (0.5, 3.0)
KILLED_SHARE, INCOMPLETE_SHARE = 0.3, 0.2
REBUILD_SECONDS = 180.0
EXIT_FAILED, EXIT_CONFIG = 1, 2
UNKNOWN = "no customer"


class Changes:
    """Changes of a run. `decisions` are in force; `done` counts what took effect."""

    def __init__(self, folder: Path, drops: Drops, secret: bytes, seed: int, on_kill: Callable[[], None]) -> None:
        self.decisions: list[Decision] = []
        self.done: Counter[str] = Counter()
        self._drops = drops
        self._log = folder / "rebuild.log"
        self._secret = secret
        self._chance = random.Random(seed)
        self._on_kill = on_kill
        self._is_over = False

    def begin(self) -> list[Coroutine[Any, Any, None]]:
        """Return the two tasks of a run: decisions and rebuilds."""
        return [self._decide(), self._rebuild()]

    def end(self) -> None:
        """Let both tasks end: each completes at least one change."""
        self._is_over = True

    async def _decide(self) -> None:
        for family in count():
            while self._drops.families <= family:
                if self._is_over:
                    return
                await asyncio.sleep(POLL_SECONDS)
            if (found := decide(family)) is not None:
                decision, is_undone = found
                made = await self._send(decision.action, decision)
                self.decisions.append(decision)
                if is_undone:
                    await self._send(Action.UNDO, decision, made)
                    self.decisions.remove(decision)
            if self._is_over:
                return

    async def _send(self, action: Action, decision: Decision, undoes: UUID | None = None) -> UUID:
        """Send a decision until it takes effect, always with the same id."""
        left, right = (self._ids(side) if undoes is None else [] for side in (decision.left, decision.right))
        made = make_decision(action, left, right, reason="crash run", who="crash", undoes=undoes)
        while True:
            try:
                await asyncio.to_thread(
                    send_decisions, KafkaSettings(), [made], wait_seconds=DECIDE_SECONDS, report=lambda line: None
                )
            except RetryableError:
                await asyncio.sleep(POLL_SECONDS)
            else:
                self.done[action] += 1
                return made.decision_id

    def _ids(self, names: tuple[Identifier, ...]) -> list[UUID]:
        return [UUID(bytes=identifier_id(self._secret, *name)) for name in names]

    async def _rebuild(self) -> None:
        while not (self._is_over and self.done["rebuild"]):
            await asyncio.sleep(self._chance.uniform(*REBUILD_PAUSE_SECONDS) if self.done["rebuild"] else POLL_SECONDS)
            if self.done["rebuild"] and self._chance.random() < INCOMPLETE_SHARE:
                await self._run_rebuild("--incomplete")
            elif self._drops.families:
                family = self._chance.randrange(self._drops.families)
                await self._run_rebuild("--customer", f"email:{mail_of(family)}")

    async def _run_rebuild(self, *options: str) -> None:
        """Run a rebuild, which may be killed, after the first one that succeeded."""
        process = self.start_rebuild(*options)
        is_killed = bool(self.done["rebuild"]) and not self._is_over and self._chance.random() < KILLED_SHARE
        limit = self._chance.uniform(*KILL_AFTER_SECONDS) if is_killed else REBUILD_SECONDS
        try:
            code = await asyncio.to_thread(process.wait, limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if not is_killed:
                raise LineError(f"a rebuild did not end within {limit:.0f} s") from None
            self._on_kill()
        except asyncio.CancelledError:
            process.kill()
            raise
        else:
            self.note_rebuild(code)

    def start_rebuild(self, *options: str) -> subprocess.Popen[bytes]:
        """Start `touchline rebuild`."""
        with self._log.open("wb") as log:
            return subprocess.Popen([TOUCHLINE, "rebuild", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def note_rebuild(self, code: int) -> None:
        """Count a rebuild by its exit code. Raises LineError for an unexpected one.

        A rebuild may fail while a service is away, and while ClickHouse does not know the customer yet.
        """
        end = self._log.read_text(errors="replace")
        if code == 0:
            self.done["rebuild"] += 1
        elif not (code == EXIT_FAILED or (code == EXIT_CONFIG and UNKNOWN in end)):
            raise LineError(f"a rebuild ended with {code}: {end[-2_000:]}")
