"""The chain, on one page: identify -> link -> join. The order here is the order a touchpoint takes.

    touchline.<source> --identify--> touchline.resolved --join--> journeys, satisfaction, churn, ...
             |                                ^    ^
             +--> identity-requests --link ---+    +-- ticks: time passed

`identify` answers from a local copy of the identity map; what is new or disputed goes to the one sequencer, `link`.
`join` keeps one state row per customer with every signal's state.
"""

from collections.abc import Sequence
from pathlib import Path

from schemas.service.connection import KafkaSettings
from schemas.wire.topics import IDENTITY
from streams.contract import Step
from streams.engine.replica import Replica
from streams.engine.worker import App, build
from streams.settings import StreamsSettings
from streams.signals import signals
from streams.steps.identify import Identify
from streams.steps.identity import customer_in
from streams.steps.join import Join
from streams.steps.link import Link


def pipeline(settings: KafkaSettings, folder: Path) -> App:
    """The worker's app, its state kept below `folder`."""
    identity = Replica(IDENTITY, folder / "identity-copy", customer_in)
    chosen = StreamsSettings()
    steps: Sequence[Step] = [Identify(identity.get), Link(), Join(signals(), chosen.kept_touchpoints)]
    return build(steps, [identity], settings, folder, chosen.tick_seconds)
