"""touchline tick: tell every partition that time has passed."""

from datetime import UTC, datetime

import click


@click.command()
@click.option("--at", type=click.DateTime(), help="The time to read signals at, UTC. Default: now.")
@click.option("--since", type=click.DateTime(), help="The time of the tick before, UTC. Default: none, everyone is read.")
def command(at: datetime | None, since: datetime | None) -> None:
    """Send a tick, so that silence shows: signals of customers without new touchpoints are read as of a time.

    Example: touchline tick --at 2026-11-01
    """
    from kafka import KafkaProducer

    from deploy.topics import require_topics
    from schemas.codec import encode_model
    from schemas.resolved import Tick
    from schemas.settings import KafkaSettings
    from schemas.topics import PARTITIONS, TICKS

    settings = KafkaSettings()
    require_topics(settings)
    tick = Tick(
        at=at.replace(tzinfo=UTC) if at else datetime.now(UTC),
        since=since.replace(tzinfo=UTC) if since else None,
    )
    producer = KafkaProducer(**settings.kafka_python(), acks="all")
    value = encode_model("tick", tick)
    for sent in [producer.send(TICKS, value=value, partition=partition) for partition in range(PARTITIONS)]:
        sent.get(timeout=30)
    producer.close()
    click.echo(f"ticked {PARTITIONS} partitions at {tick.at:%Y-%m-%d %H:%M:%S} UTC")
