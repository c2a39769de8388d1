"""`touchline prometheus`: run Prometheus with the alerts of this installation."""

import errno
import socket

import click

from schemas.errors import ConfigError


@click.command()
@click.option("--port", default=9090, show_default=True, type=click.IntRange(1, 65_535), help="Port of Prometheus on loopback.")
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
    from deploy.prometheus.config import render, write_config

    folder = home() / "prometheus"
    config = render(home() / "targets")
    if print_only:
        click.echo(config, nl=False)
        return
    require_free_port(port)
    file = write_config(folder, config)
    program = shutil.which("prometheus") or str(promtool().with_name("prometheus"))
    click.echo(f"Prometheus: http://127.0.0.1:{port}", err=True)
    os.execv(  # noqa: S606 - becomes Prometheus
        program,
        [
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )


def require_free_port(port: int) -> None:
    """Raise ConfigError where nothing can listen on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise ConfigError(f"port {port} of 127.0.0.1 {reason}: give another one with --port") from error
