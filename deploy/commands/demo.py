"""`touchline demo`: the whole line on this machine, on one real and one simulated input."""

import click


@click.command()
@click.option(
    "--keep/--no-keep",
    default=True,
    envvar="DEMO_KEEP",
    show_default=True,
    show_envvar=True,
    help="Keep Kafka and ClickHouse running at the end, for your own queries.",
)
def command(*, keep: bool) -> None:
    """Run the whole line on example data and print answers.

    The inputs are real purchases (CDNOW) and a simulated telecom company. The demo starts Kafka and ClickHouse, reads the files
    of both inputs, waits until all records are stored, answers an analyst's questions, and checks that no record is lost.

    You can repeat it: the counts stay the same.

    Example: touchline demo --no-keep
    """
    from deploy.demo.run import run_demo

    run_demo(keep=keep)
