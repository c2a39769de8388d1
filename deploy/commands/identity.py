"""`touchline identity`: which identifiers are one customer, and why."""

import json

import click

from deploy.commands.explain import reader


@click.group()
def command() -> None:
    """Who a customer is.

    Example: touchline identity show email:ann@example.com
    """


@command.command()
@click.argument("who", metavar="IDENTIFIER|CUSTOMER")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object, times in ISO 8601.")
def show(*, who: str, as_json: bool) -> None:
    """Show a customer's identifiers and the former customers that are part of it, each with the touchpoint that says so.

    This is customer data: do not paste it anywhere.

    Example: touchline identity show email:ann@example.com
    """
    from deploy.dead_letters.output import console
    from deploy.explain.customer import asked, plain
    from deploy.explain.output import show_identity

    with reader(None) as customers:
        identity = customers.identity(asked(who))
    if as_json:
        click.echo(json.dumps(plain(identity), ensure_ascii=False))
    else:
        show_identity(console(), identity, None)
