"""`touchline identity`: the identifiers that belong to one customer, and the touchpoints that joined them."""

import json

import click

from deploy.commands.explain import customer_reader


@click.group()
def command() -> None:
    """Show which identifiers are one customer.

    Example: touchline identity show ann@example.com
    """


@command.command()
@click.argument("customer", metavar="IDENTIFIER|CUSTOMER_ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times in ISO 8601.")
def show(*, customer: str, as_json: bool) -> None:
    """Show the identifiers and merges of one customer.

    Each comes with the touchpoint that caused it. The output is customer data: do not paste it anywhere.

    Example: touchline identity show ann@example.com
    """
    from deploy.explain.customer import to_json
    from deploy.explain.output import show_identity
    from deploy.identity.lookup import parse_lookup
    from deploy.services import name_services
    from deploy.terminal.console import console

    name_services("identity", clickhouse=True)
    with customer_reader(None) as customers:
        identity = customers.identity(parse_lookup(customer))
    if as_json:
        click.echo(json.dumps(to_json(identity), ensure_ascii=False))
    else:
        show_identity(console(), identity, None)
