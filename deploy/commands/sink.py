"""`touchline sink`: Kafka topics into ClickHouse tables."""

import click

LEAVE_WITHIN = 9.5
EXIT_BROKEN_OFF = 75


@click.command()
@click.argument("tables", nargs=-1)
@click.option("--until-idle", type=float, metavar="SECONDS", help="End when nothing was left to store for so many seconds.")
@click.option("--restart/--no-restart", default=True, show_default=True, help="Start again after an unexpected end.")
def command(*, tables: tuple[str, ...], until_idle: float | None, restart: bool) -> None:
    """Store the records of TABLES (all of them without an argument) in ClickHouse until SIGTERM.

    A supervisor starts it again when it crashes, but for --until-idle; with systemd or Kubernetes, use --no-restart.

    Example: touchline sink touchpoints journeys --until-idle 5
    """
    if restart and until_idle is None:
        from deploy.supervise import supervised

        supervised()
    import asyncio
    import logging
    import os
    import signal
    import threading

    from schemas.service.connection import KafkaSettings
    from schemas.service.telemetry import serve
    from sinks.contract import chosen
    from sinks.process import Sinks

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # aiokafka repeats at every attempt, ten times a second, what the sinks say once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stop = threading.Event()

    def leave(*_: object) -> None:
        """Every chunk is safe by then; a client that still does not let go must not keep the process."""
        stop.set()
        last_resort = threading.Timer(LEAVE_WITHIN, os._exit, [EXIT_BROKEN_OFF])
        last_resort.daemon = True
        last_resort.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    sinks = Sinks(chosen(tables), KafkaSettings(), stop)
    logging.getLogger("sinks").info("metrics on http://127.0.0.1:%d/metrics", serve("sink", sinks.live, sinks.ready))
    asyncio.run(sinks.run(until_idle))
