"""The chain of steps: identify, link, join, in the order that a touchpoint takes.

    touchline.<source> --identify--> touchline.resolved --join--> journeys, satisfaction, churn, ...
             |                                ^    ^
             +--> identity-requests --link ---+    +-- ticks: time passed

`identify` answers from a local copy of the identity map. Touchpoints with new or conflicting identifiers go to `link`, the
single sequencer. `join` keeps one state row per customer, which holds the state of every signal.
"""

from collections.abc import Sequence
from pathlib import Path

from schemas.service.connection import KafkaSettings
from schemas.wire.topics import IDENTITY
from streams.contract import Step
from streams.engine.replica import Replica
from streams.engine.worker import App, build_app
from streams.settings import StreamsSettings
from streams.signals import load_signals
from streams.steps.identify import Identify
from streams.steps.identity import read_customer_id
from streams.steps.join import Join
from streams.steps.link import Link


def build_pipeline(settings: KafkaSettings, folder: Path) -> App:
    """Return the worker's app, which keeps its state below `folder`."""
    identity = Replica(IDENTITY, folder / "identity-copy", read_customer_id)
    streams_settings = StreamsSettings()
    steps: Sequence[Step] = [Identify(identity.get), Link(), Join(load_signals(), streams_settings.kept_touchpoints)]
    return build_app(steps, [identity], settings, folder, streams_settings.tick_seconds)
