"""`touchline demo`: the whole line on this machine, on one real and one simulated input, with questions answered."""

import click


@click.command()
@click.option(
    "--keep/--no-keep",
    default=True,
    envvar="DEMO_KEEP",
    show_default=True,
    show_envvar=True,
    help="Leave the stack up for your own questions, or take it down.",
)
def command(*, keep: bool) -> None:
    """Run everything on real purchases (CDNOW) and a simulated telecom company, and answer an analyst's questions.

    Starts Kafka and ClickHouse, reads the files of both, waits until all is stored, and checks that nothing is lost.
    Harmless when repeated.

    Example: touchline demo --no-keep
    """
    from deploy.demo.run import demo

    demo(keep=keep)
