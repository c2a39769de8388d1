"""`touchline prometheus`: run Prometheus with the alerts of this installation."""

import click


@click.command()
@click.option("--port", default=9090, show_default=True, help="Port of Prometheus on loopback.")
@click.option("--print", "print_only", is_flag=True, help="Print the configuration and run nothing.")
def command(port: int, *, print_only: bool) -> None:
    """Run Prometheus with all alerts.

    It scrapes every Touchline process of this machine.

    Example: touchline prometheus --port 9090
    """
    import os
    import shutil

    from deploy.local.promtool import promtool
    from deploy.local.state import home
    from deploy.prometheus.config import render

    folder = home() / "prometheus"
    config = render(home() / "targets")
    if print_only:
        click.echo(config, nl=False)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    program = shutil.which("prometheus") or str(promtool().with_name("prometheus"))
    click.echo(f"Prometheus: http://127.0.0.1:{port}", err=True)
    os.execv(  # noqa: S606 - becomes Prometheus
        program,
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
