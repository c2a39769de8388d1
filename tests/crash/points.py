"""The points at which a process can die: every numbered step of the three modules with an ordered docstring, and more.

`test_points.py` compares this table with those docstrings. A run fails for a point that no process passed.
"""

from typing import NamedTuple


class Point(NamedTuple):
    """One point: the `kind` of process (connect, work, sink), the `step` that ends here, and the `call` that ends it.

    `turn` selects one of several calls within a chunk; 0 selects all. `stage` is the stage of the worker, or empty. Processes
    pass `takeover` points only when partitions move.
    """

    name: str
    kind: str
    step: int | None
    call: str
    before: bool = False
    turn: int = 0
    stage: str = ""
    takeover: bool = False


PRODUCER = "streams.engine.producer:Producer"
CONSUMER = "streams.engine.transport:Consumer"
STORE = "streams.engine.store:Store"
CONNECT = (
    Point("connect.read", "connect", 1, "connectors.runtime.runner:encode_batch", before=True),
    Point("connect.map", "connect", 2, "connectors.runtime.runner:encode_batch"),
    Point("connect.publish", "connect", 3, "connectors.runtime.publisher:Publisher.flush", before=True, turn=1),
    Point("connect.wait", "connect", 4, "connectors.runtime.publisher:Publisher.flush", turn=1),
    Point("connect.save", "connect", 5, "connectors.runtime.checkpoints:save_state"),
)
STAGE = (
    Point("decode", "work", 1, "streams.engine.stage:Stage._decode"),
    Point("fold", "work", 2, "streams.engine.stage:Stage._fold"),
    Point("outputs", "work", 3, f"{PRODUCER}.publish", turn=1),
    Point("dead_letters", "work", 4, f"{PRODUCER}.publish", turn=2),
    Point("changelog", "work", 5, f"{PRODUCER}.publish_rows"),
    Point("store", "work", 6, f"{STORE}.write"),
    Point("acknowledge", "work", 7, "faust.events:Event.ack"),
)
STATELESS = frozenset({1, 2, 3, 4, 7})
WORK = (
    *(step._replace(name=f"identify.{step.name}", stage="identify") for step in STAGE if step.step in STATELESS),
    *(step._replace(name=f"{stage}.{step.name}", stage=stage) for stage in ("link", "join") for step in STAGE),
    Point("work.commit", "work", None, f"{CONSUMER}._commit", before=True),
    Point("work.committed", "work", None, f"{CONSUMER}._commit"),
    Point("work.recover", "work", None, f"{STORE}.apply_changelog_batch", takeover=True),
)
SINK = (
    Point("sink.poll", "sink", 1, "sinks.runner:Runner._decode", before=True),
    Point("sink.decode", "sink", 2, "sinks.runner:transform"),
    Point("sink.intend", "sink", 3, "sinks.runner:Runner._commit_intent"),
    Point("sink.insert", "sink", 4, "sinks.runner:write"),
    Point("sink.dead_letters", "sink", 5, "sinks.runner:Runner._publish"),
    Point("sink.commit", "sink", 6, "sinks.runner:Runner._commit"),
)
POINTS = {point.name: point for point in (*CONNECT, *WORK, *SINK)}
CHUNK_BEGINS = {"work": "streams.engine.stage:Stage.process_chunk", "connect": "connectors.runtime.runner:encode_batch"}
