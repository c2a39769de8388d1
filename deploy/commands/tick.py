"""touchline tick: tell every partition that time has passed."""

from datetime import UTC, datetime

import click


@click.command()
@click.option("--at", type=click.DateTime(), help="The time to read signals at, UTC. Default: now.")
@click.option("--since", type=click.DateTime(), help="The time of the tick before, UTC. Default: none, everyone is read.")
def command(at: datetime | None, since: datetime | None) -> None:
    """Send a tick, so that silence shows: signals of customers without new touchpoints are read as of a time.

    A worker ticks by itself at each full hour (TOUCHLINE_STREAMS_TICK_SECONDS); this is for other moments.

    Example: touchline tick --at 2026-11-01
    """
    from kafka import KafkaProducer

    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings
    from schemas.wire.topics import PARTITIONS
    from streams.engine.ticks import make_tick

    settings = KafkaSettings()
    require_topics(settings)
    moment = (at or datetime.now(UTC)).replace(tzinfo=UTC)
    before = milliseconds(since) if since else None
    ticks = [make_tick(milliseconds(moment), before, partition) for partition in range(PARTITIONS)]
    producer = KafkaProducer(**settings.kafka_python(), acks="all")
    for sent in [producer.send(each.topic, each.value, each.key, partition=each.partition) for each in ticks]:
        sent.get(timeout=30)
    producer.close()
    click.echo(f"ticked {PARTITIONS} partitions at {moment:%Y-%m-%d %H:%M:%S} UTC")


def milliseconds(at: datetime) -> int:
    """Since 1970; a moment without a zone is UTC."""
    return round(at.replace(tzinfo=UTC).timestamp() * 1000)
