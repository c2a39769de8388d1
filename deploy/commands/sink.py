"""`touchline sink`: Kafka topics into ClickHouse tables."""

import click

from deploy.terminal.options import PROCESS_NAME


@click.command()
@click.argument("tables", nargs=-1)
@click.option("--name", default="sink", show_default=True, type=PROCESS_NAME, help="Name of the process in metrics and alerts.")
@click.option("--until-idle", type=float, metavar="SECONDS", help="End after SECONDS without a record to store.")
@click.option("--restart/--no-restart", default=True, show_default=True, help="Restart after an unexpected end.")
def command(*, tables: tuple[str, ...], name: str, until_idle: float | None, restart: bool) -> None:
    """Store records of Kafka in ClickHouse.

    TABLES are the tables to fill; all of them without an argument. Runs until SIGTERM or Ctrl-C. A sink waits for Kafka and
    ClickHouse when it starts.

    A supervisor restarts a sink that crashes, except with --until-idle. Use --no-restart under systemd or Kubernetes.

    Example: touchline sink touchpoints journeys --until-idle 5
    """
    if restart and until_idle is None:
        from deploy.supervise import run_supervised

        run_supervised()
    import asyncio
    from functools import partial

    from deploy.services import name_services
    from deploy.topics import ensure_topics
    from schemas.service.connection import KafkaSettings
    from schemas.service.process import Process
    from sinks.connection import ClickHouseSettings
    from sinks.contract import select_tables
    from sinks.process import Sinks, require_server

    chosen_tables = select_tables(tables)
    name_services("sink", kafka=True, clickhouse=True)
    settings, clickhouse = KafkaSettings(), ClickHouseSettings()
    process = Process("sink", name, quiet=["aiokafka", "kafka"])
    sinks = Sinks(chosen_tables, settings, process.stop)
    is_bounded = until_idle is not None
    process.serve(is_bounded=is_bounded)
    wait_for = partial(process.wait_for, is_bounded=is_bounded)
    wait_for(f"Kafka at {settings.bootstrap_servers}", lambda: ensure_topics(settings, dry_run=True))
    wait_for(f"ClickHouse at {clickhouse.host}:{clickhouse.port}", lambda: require_server(clickhouse))
    process.use_probes(sinks.check_live, sinks.check_ready)
    asyncio.run(sinks.run(until_idle))
