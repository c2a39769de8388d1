"""The chain of steps: identify, link, join, in the order that a touchpoint takes.

    touchline.<source> --identify--> touchline.resolved --join--> journeys, satisfaction, churn, ...
             |                                ^    ^
             +--> identity-requests --link ---+    +-- ticks: time passed

`identify` answers from a local copy of the identity map. Touchpoints with new or conflicting identifiers go to `link`, the
single sequencer. `join` keeps one state row per customer, which holds the state of every signal.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from schemas.service.connection import KafkaSettings
from schemas.service.secret import load_secret
from schemas.wire.topics import IDENTITY
from streams.contract import Step
from streams.engine.replica import Replica
from streams.engine.worker import App, build_app
from streams.identity.compound_keys import CompoundSettings
from streams.identity.naming import build_naming
from streams.identity.settings import IdentitySettings
from streams.settings import StreamsSettings
from streams.signals import load_signals
from streams.steps.identify import Identify
from streams.steps.identity import is_expired, is_final, read_copy_row
from streams.steps.join import Join
from streams.steps.link import Link


def build_pipeline(settings: KafkaSettings, folder: Path) -> App:
    """Return the worker's app, which keeps its state below `folder`."""
    identity_settings = IdentitySettings()
    keys = CompoundSettings().load_keys()
    naming = build_naming(load_secret(), identity_settings, keys)
    expire = partial(is_expired, days=identity_settings.anonymous_days)
    identity = Replica(IDENTITY, folder / "identity-members", read_copy_row, expire, is_final)
    streams_settings = StreamsSettings()
    steps: Sequence[Step] = [
        Identify(identity.get, naming),
        Link(naming),
        Join(load_signals(), streams_settings.kept_touchpoints),
    ]
    return build_app(steps, [identity], settings, folder, streams_settings.tick_seconds)
