"""The table of crash points is complete: every numbered step has one, and every call of a point exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import connectors.runtime.runner
import sinks.runner
import streams.engine.stage
from streams.steps.identify import Identify
from streams.steps.join import Join
from streams.steps.link import Link
from tests.crash.injuries import ACT, DECK, EVERYTHING, POINT, script
from tests.crash.launch import DIED, resolve_call
from tests.crash.line import ROOT
from tests.crash.points import CHUNK_BEGINS, POINTS, STATELESS

ORDERS = {"connect": connectors.runtime.runner, "work": streams.engine.stage, "sink": sinks.runner}
DYING = """
import sys
from pathlib import Path
from tests.crash import launch, points
from tests.crash import victim

points.POINTS.clear()
points.POINTS["here"] = points.Point("here", "work", 1, "tests.crash.victim:step", turn=2)
points.CHUNK_BEGINS["work"] = "tests.crash.victim:begin"
launch.arm(Path(sys.argv[1]), "work")
for _ in range(3):
    victim.begin(None)
    print(victim.step(), victim.step(), victim.step(), flush=True)
"""


def steps(kind: str) -> set[int]:
    return {int(number) for number in re.findall(r"^(\d+)\. ", ORDERS[kind].__doc__ or "", re.MULTILINE)}


@pytest.mark.parametrize("kind", ["connect", "sink"])
def test_every_numbered_step_has_its_point(kind: str) -> None:
    assert steps(kind)
    assert {point.step for point in POINTS.values() if point.kind == kind} == steps(kind)


@pytest.mark.parametrize("stage", [Identify, Link, Join])
def test_every_numbered_step_of_every_stage_has_its_point(stage: type[Identify | Link | Join]) -> None:
    assert steps("work")
    own = {point.step for point in POINTS.values() if point.stage == stage.name}
    assert own == (steps("work") if stage.table else STATELESS)


@pytest.mark.parametrize("call", sorted({point.call for point in POINTS.values()} | set(CHUNK_BEGINS.values())))
def test_every_call_with_a_point_exists(call: str) -> None:
    owner, name = resolve_call(call)
    assert callable(getattr(owner, name))


@pytest.mark.parametrize(("order", "lines"), [("here 0", 0), ("here 2", 2), ("elsewhere 0", 3)])
def test_process_dies_at_the_ordered_point_and_removes_the_order(tmp_path: Path, order: str, lines: int) -> None:
    ordered = tmp_path / "work.order"
    ordered.write_text(order)
    dying = subprocess.run([sys.executable, "-c", DYING, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dying.stdout.splitlines() == ["alive alive alive"] * lines, dying.stderr
    assert dying.returncode == (DIED if lines < 3 else 0)
    assert ordered.exists() == (lines == 3)
    assert (tmp_path / "passed").read_text() == "here\n"


@pytest.mark.parametrize("kills", [1, 12, ACT, 200])
def test_script_has_the_requested_injuries_and_is_the_same_for_a_seed(kills: int) -> None:
    acts = script(7, kills)
    assert sum(len(track) for act in acts for track in act.values()) + len(acts) == kills
    assert acts == script(7, kills)
    assert kills == 1 or acts != script(8, kills)


def test_two_hundred_injuries_use_every_point_and_target() -> None:
    injuries = [injury for act in script(11, 200) for track in act.values() for injury in track]
    assert {injury.point for injury in injuries if injury.how == POINT} == set(POINTS)
    assert {(injury.target, injury.how) for injury in injuries} == set(DECK)
    assert EVERYTHING not in {injury.target for injury in injuries}
