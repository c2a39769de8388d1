"""`touchline connect NAME`: check a source, look at its touchpoints, or publish them once or for ever."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from connectors.contract import Connector


class Moment(click.DateTime):
    """A date, or date and time, in UTC."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment. Fails for text of another form."""
        found: datetime = super().convert(value, param, ctx)
        return found.replace(tzinfo=UTC)


@click.command()
@click.argument("name")
@click.option("--settings", "settings_file", required=True, type=click.Path(path_type=Path), help="YAML file of the instance.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of drops, instead of the one in the settings.")
@click.option("--check", is_flag=True, help="Say whether settings and source are fine; publish nothing.")
@click.option("--preview", metavar="N", type=click.IntRange(min=1), help="Show N records of each feed; publish nothing.")
@click.option("--once", is_flag=True, help="Read to the end of the source, print totals and leave.")
@click.option("--backfill", metavar="FROM", type=Moment(), help="Read again from this date (UTC) to where live reading stands.")
@click.option("--restart/--no-restart", default=True, show_default=True, help="Start again after an unexpected end.")
def command(
    *,
    name: str,
    settings_file: Path,
    root: Path | None,
    check: bool,
    preview: int | None,
    once: bool,
    backfill: datetime | None,
    restart: bool,
) -> None:
    """Publish the touchpoints of a source to Kafka; NAME is one of `touchline connectors`.

    Runs until it is told to stop (SIGTERM, Ctrl-C): it then finishes its batch and saves its cursor. A supervisor starts
    it again when it crashes; with systemd or Kubernetes, which do that, use --no-restart.

    A connector that is sent its records (`intake`) listens instead: --preview waits for the first ones, shows them, and has
    them sent again; --once and --backfill are not for it.

    A backfill may run beside it: it has a cursor of its own, takes half of the source's rate, leaves when it has read all,
    and says whether the source counts as many. Stopped half-way and started with the same date, it goes on.

    \b
    Example: touchline connect files --settings connectors/files/minimal.yaml --check
             touchline connect example_reviews --settings reviews.yaml --backfill 2025-01-01
    """
    if restart and not (check or preview or once or backfill):
        from deploy.supervise import supervised

        supervised()
    from connectors.contract import Listener
    from connectors.settings import open_connector
    from deploy.connect.output import show_preview
    from schemas.errors import ConfigError

    connector = open_connector(name, settings_file, {"root": root.resolve()} if root else {})
    found = connector.check()
    listens = isinstance(connector, Listener)
    if listens and (once or backfill):
        raise ConfigError(f"{name} is sent its records and asks nobody: leave out --once and --backfill")
    if check:
        click.echo(f"{connector.name}: fine: {found}")
    elif preview:
        with closing(connector):
            listening(connector, keep=False)
            show_preview(connector, preview)
    else:
        publish(connector, once=once, since=backfill)


def listening(connector: Connector, *, keep: bool) -> None:
    """Let a connector that is sent its records listen, and say where."""
    from connectors.contract import Listener

    if isinstance(connector, Listener):
        click.echo(f"{connector.name}: listening at {connector.listen(acknowledge=keep)}", err=True)


def publish(connector: Connector, *, once: bool, since: datetime | None) -> None:
    """Run the connector on the real Kafka, with metrics, bars and a clean end on SIGTERM."""
    import gc
    import logging
    import signal
    import threading

    from connectors.runtime.runner import Runner
    from deploy.connect.output import FeedBars, reconciliation, totals
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings
    from schemas.service.telemetry import serve

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it tells of each attempt; the publisher says the same once
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = KafkaSettings()
    require_topics(settings)
    port = serve("connect")
    if not (once or since):
        click.echo(f"{connector.name}: metrics on http://127.0.0.1:{port}/metrics", err=True)
    with FeedBars() as bars:
        runner = Runner(connector, settings, stop, bars.update, since)
        gc.freeze()  # to look for cycles in all that was imported takes 40 ms, and whoever sends to us waits for that
        try:
            listening(connector, keep=True)  # not before the runner has met Kafka: whoever finds us listening finds us ready
            if once or since:
                runner.run_once()
            else:
                runner.run_forever()
            reconciled = [] if stop.is_set() else list(reconciliation(connector.name, runner.reconcile()))
        finally:
            runner.close()
    for line in totals(connector.name, runner.states):
        click.echo(line)
    for line in reconciled:
        click.echo(line)
