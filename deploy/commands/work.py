"""touchline work: one Faust worker of the chain."""

import click


@click.command()
@click.option("--name", default="worker", show_default=True, help="Names the worker's folder; one worker a name.")
@click.option("--restart/--no-restart", default=True, show_default=True, help="Start again after an unexpected end.")
def command(*, name: str, restart: bool) -> None:
    """Run a worker: identify customers, join journeys, read signals. Start more for more speed, each with its own --name.

    A supervisor starts it again when it crashes; with systemd or Kubernetes, which do that, use --no-restart.

    Example: touchline work --name worker-2
    """
    if restart:
        from deploy.supervise import supervised

        supervised()
    from deploy.local.state import home
    from deploy.topics import require_topics
    from schemas.service import telemetry
    from schemas.service.connection import KafkaSettings
    from streams.engine.worker import lock_folder, run_app
    from streams.pipeline import build_pipeline

    settings = KafkaSettings()
    require_topics(settings)
    folder = home() / "work" / name
    lock = lock_folder(folder)
    app = build_pipeline(settings, folder)
    port = telemetry.serve("work", app.live, app.ready)
    click.echo(f"worker {name}: metrics on http://127.0.0.1:{port}/metrics", err=True)
    run_app(app)
    lock.close()
