"""`touchline work`: one Faust worker of the chain."""

import click

from deploy.terminal.options import PROCESS_NAME


@click.command()
@click.option(
    "--name",
    default="worker",
    show_default=True,
    type=PROCESS_NAME,
    help="Name of the worker and of its folder; unique per machine.",
)
@click.option("--restart/--no-restart", default=True, show_default=True, help="Restart after an unexpected end.")
def command(*, name: str, restart: bool) -> None:
    """Run a worker: customers, journeys, signals.

    A worker identifies customers, joins their touchpoints into journeys and reads signals. Start more workers for more speed,
    each with its own --name. A worker waits for Kafka when it starts.

    A supervisor restarts a worker that crashes. Use --no-restart under systemd or Kubernetes, which restart it themselves.

    Example: touchline work --name worker-2
    """
    if restart:
        from deploy.supervise import run_supervised

        run_supervised()
    import asyncio

    from deploy.local.state import home
    from deploy.services import name_services
    from deploy.topics import require_topics
    from schemas.service.connection import KafkaSettings
    from schemas.service.process import Process
    from schemas.service.secret import fingerprint, load_secret
    from streams.engine.fingerprint import check_fingerprint
    from streams.engine.worker import lock_folder, run_app
    from streams.pipeline import build_pipeline

    name_services("work", kafka=True)
    settings = KafkaSettings()
    process = Process("work", name, quiet=["kafka"])
    folder = home() / "work" / name
    lock = lock_folder(folder)
    app = build_pipeline(settings, folder)
    process.serve()
    process.wait_for(f"Kafka at {settings.bootstrap_servers}", lambda: require_topics(settings))
    own = fingerprint(load_secret())
    process.wait_for("the fingerprint of the identity secret", lambda: asyncio.run(check_fingerprint(settings, own)))
    process.use_probes(app.check_live, app.check_ready)
    process.release_signals()
    run_app(app)
    lock.close()
