"""`touchline tick`: publish a tick to every partition."""

from datetime import UTC, datetime

import click

from deploy.terminal.options import TIME


@click.command()
@click.option("--at", metavar="TIME", type=TIME, help="UTC time of the tick, as 2026-11-01 or 2026-11-01T12:00. Default: now.")
@click.option("--since", metavar="TIME", type=TIME, help="UTC time of the previous tick. Default: none, all customers are read.")
def command(at: datetime | None, since: datetime | None) -> None:
    """Read signals of inactive customers, as of a time.

    A tick makes the workers read signals as of its time, also of customers without new touchpoints. A worker ticks at each full
    hour (TOUCHLINE_STREAMS_TICK_SECONDS); use this command for other times.

    Example: touchline tick --at 2026-11-01
    """
    from kafka import KafkaProducer

    from deploy.services import name_services, wait_for_service
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings
    from schemas.wire.topics import PARTITIONS
    from streams.engine.ticks import make_tick

    name_services("tick", kafka=True)
    settings = KafkaSettings()
    wait_for_service("tick", f"Kafka at {settings.bootstrap_servers}", lambda: require_topics(settings))
    moment = (at or datetime.now(UTC)).replace(tzinfo=UTC)
    before = milliseconds(since) if since else None
    ticks = [make_tick(milliseconds(moment), before, partition) for partition in range(PARTITIONS)]
    producer = KafkaProducer(**settings.kafka_python(), acks="all")
    for sent in [producer.send(each.topic, each.value, each.key, partition=each.partition) for each in ticks]:
        sent.get(timeout=30)
    producer.close()
    click.echo(f"ticked {PARTITIONS} partitions at {moment:%Y-%m-%d %H:%M:%S} UTC")


def milliseconds(at: datetime) -> int:
    """Return milliseconds since 1970; a time without a zone is UTC."""
    return round(at.replace(tzinfo=UTC).timestamp() * 1000)
