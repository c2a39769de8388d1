"""`touchline connect NAME`: check a source, preview its touchpoints, or publish them."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from connectors.contract import Connector


class Moment(click.DateTime):
    """A date, or a date and time, in UTC."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment in UTC. Fails for text of another form."""
        moment: datetime = super().convert(value, param, ctx)
        return moment.replace(tzinfo=UTC)


@click.command()
@click.argument("name")
@click.option("--settings", "settings_file", required=True, type=click.Path(path_type=Path), help="YAML file of the instance.")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of drops; replaces the one in the settings.")
@click.option("--check", is_flag=True, help="Check the settings and the source; publish nothing.")
@click.option("--preview", metavar="N", type=click.IntRange(min=1), help="Show N records of each feed; publish nothing.")
@click.option("--once", is_flag=True, help="Read to the end of the source, print the totals and end.")
@click.option("--backfill", metavar="FROM", type=Moment(), help="Read again from this date (UTC) to the live cursor.")
@click.option("--restart/--no-restart", default=True, show_default=True, help="Restart after an unexpected end.")
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
    """Publish the touchpoints of a source to Kafka.

    NAME is a connector of `touchline connectors`. It runs until SIGTERM or Ctrl-C, then finishes its batch and saves its
    cursor. A connector waits for Kafka when it starts.

    A supervisor restarts a connector that crashes. --check, --preview, --once and --backfill run without a supervisor. Use
    --no-restart under systemd or Kubernetes.

    A connector that receives its records (`intake`) listens: --preview waits for the first records, shows them, and makes the
    senders send them again. It refuses --once and --backfill.

    A backfill can run at the same time as the live connector. It has its own cursor, uses half of the source's rate limit,
    compares its counts with the source and ends. A backfill that was stopped continues when started with the same date.

    \b
    Example: touchline connect files --settings connectors/files/minimal.yaml --check
             touchline connect files --settings connectors/files/minimal.yaml --preview 5
    """
    if restart and not (check or preview or once or backfill):
        from deploy.supervise import run_supervised

        run_supervised()
    from connectors.contract import Listener
    from connectors.settings import open_connector
    from deploy.connect.output import show_preview
    from deploy.services import name_services
    from schemas.errors import ConfigError

    connector = open_connector(name, settings_file, {"root": root.resolve()} if root else {})
    if isinstance(connector, Listener) and (once or backfill):
        raise ConfigError(f"{name} receives its records and has no end to read to: leave out --once and --backfill")
    if not (check or preview):
        name_services(f"connect {connector.name}", kafka=True)
    summary = connector.check()
    if check:
        click.echo(f"{connector.name}: fine: {summary}")
    elif preview:
        with closing(connector):
            start_listening(connector, acknowledge=False)
            show_preview(connector, preview)
    else:
        publish(connector, once=once, since=backfill)


def start_listening(connector: Connector, *, acknowledge: bool) -> None:
    """Let a connector that receives its records listen, and print its address."""
    from connectors.contract import Listener

    if isinstance(connector, Listener):
        click.echo(f"{connector.name}: listening at {connector.listen(acknowledge=acknowledge)}", err=True)


def publish(connector: Connector, *, once: bool, since: datetime | None) -> None:
    """Run the connector against Kafka, with metrics, progress bars and a clean end on SIGTERM."""
    import gc
    import logging

    from connectors.runtime.runner import Runner
    from deploy.connect.output import FeedBars, format_reconciliation, format_totals
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings
    from schemas.service.health import always_ok
    from schemas.service.process import Process

    settings = KafkaSettings()
    name = f"{connector.name}-backfill" if since else connector.name
    process = Process("connect", name, level=logging.WARNING, quiet=["kafka"])
    is_bounded = once or since is not None
    process.serve(is_bounded=is_bounded)
    process.wait_for(f"Kafka at {settings.bootstrap_servers}", lambda: require_topics(settings), is_bounded=is_bounded)
    with FeedBars() as bars:
        runner = Runner(connector, settings, process.stop, bars.update, since)
        gc.freeze()  # a collection over all imported objects takes 40 ms, and senders wait for it
        try:
            start_listening(connector, acknowledge=True)  # only after the runner has reached Kafka: it can publish now
            process.use_probes(always_ok, always_ok)
            if once or since:
                runner.run_once()
            else:
                runner.run_forever()
            reconciled = [] if process.stop.is_set() else list(format_reconciliation(connector.name, runner.reconcile()))
        finally:
            runner.close()
    for line in [*format_totals(connector.name, runner.states), *reconciled]:
        click.echo(line)
