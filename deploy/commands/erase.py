"""`touchline erase`: delete a person from all stores, keep it out from now on, and search for what is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.erase.queries import ErasureStore
    from sinks.clickhouse import ClickHouse

LEFT = 1


@click.command()
@click.argument("identifier", metavar="IDENTIFIER|CUSTOMER_ID", required=False)
@click.option("--reason", metavar="TEXT", help="Why, without personal data: kept for ever with the proof.")
@click.option("--who", metavar="NAME", help="Person who decides. Default: the user of the operating system.")
@click.option("--verify", is_flag=True, help="Search all stores for the person, or for all erased people, and change nothing.")
@click.option("--dry-run", is_flag=True, help="Print the identifiers and the number of rows, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed without a terminal.")
def command(*, identifier: str | None, reason: str | None, who: str | None, verify: bool, dry_run: bool, yes: bool) -> None:
    """Delete a person for good, with all identifiers.

    The views hide the customer at once. Then the identity map forgets the identifiers, workers empty the person's state, and
    ClickHouse deletes all rows, dead letters included. Until then, touchpoints of other customers may still name an identifier.
    Touchpoints that name one of these identifiers are dropped from then on: new ones, replayed ones and those of a rebuild. A
    proof row keeps who, when, why and how many; the reason must not contain an identifier of the person.

    Kafka cannot delete single records: the source topics keep the person until their retention. --verify reads all tables and
    topics, and reports per store how many records are left and until when.

    Workers and sinks must run. An interrupted erasure leaves the customer hidden; the same command continues it.

    Exit codes: 0 erased, or nothing left that must go; 1 something left, or a service away; 2 wrong input or rights.

    Example: touchline erase ann@example.com --reason "request 4711" --dry-run
    """
    from deploy.services import name_services

    if verify:
        name_services("erase", kafka=True, clickhouse=True)
        run_verify(identifier)
        return
    if identifier is None:
        raise click.UsageError("give an identifier of the person, or --verify")
    if reason is None and not dry_run:
        raise click.UsageError("give the reason with --reason")
    name_services("erase", kafka=True, clickhouse=True)
    run_erasure(identifier, reason or "", who, dry_run=dry_run, yes=yes)


def run_erasure(identifier: str, reason: str, who: str | None, *, dry_run: bool, yes: bool) -> None:
    """Print the plan, ask, and erase the person."""
    from deploy.erase.lookup import find_person
    from deploy.erase.output import show_person, show_proof
    from deploy.erase.request import Request, check_request, make_finder
    from deploy.erase.run import Erasure, make_plan
    from deploy.erase.secret import load_checked_secret
    from deploy.identity.decisions import print_progress, read_user_name
    from deploy.identity.plan import check_reason
    from deploy.identity.queries import IdentityReader
    from deploy.terminal.console import console
    from deploy.topics import require_topics
    from schemas.errors import ConfigError
    from schemas.service.connection import KafkaSettings

    request = None if dry_run else Request(check_reason(reason), who or read_user_name())
    settings, on = KafkaSettings(), console()
    require_topics(settings)
    with open_store() as (client, store):
        plan = make_plan(store, find_person(IdentityReader(client), store, identifier, load_checked_secret))
        if request is not None:
            check_request(request, make_finder(plan.person, identifier))
        show_person(on, plan)
        if request is None:
            return
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError("an erasure cannot be undone: confirm it with --yes")
            click.confirm("Erase this person? It cannot be undone.", abort=True)
        proof_id, counts = Erasure(settings, client, store, print_progress).run(plan, request)
    show_proof(on, proof_id, counts)


def run_verify(identifier: str | None) -> None:
    """Search all stores, print the result, and end with code 1 where something is left that must go."""
    from deploy.erase.lookup import find_person
    from deploy.erase.output import show_reports
    from deploy.erase.recognition import Recogniser
    from deploy.erase.request import make_finder
    from deploy.erase.search import search_all
    from deploy.erase.secret import load_checked_secret
    from deploy.identity.queries import IdentityReader
    from deploy.terminal.console import console
    from schemas.service.connection import KafkaSettings

    on = console()
    with open_store() as (client, store):
        if identifier is None:
            ids = store.list_erased()
            if not ids:
                click.echo("No person was erased.")
                return
            reports = search_all(KafkaSettings(), client, None, ids, Recogniser(load_checked_secret(), frozenset(ids)))
        else:
            person = find_person(IdentityReader(client), store, identifier, load_checked_secret)
            finder = make_finder(person, identifier)
            reports = search_all(KafkaSettings(), client, finder, person.ids, finder)
    totals = show_reports(on, reports)
    if totals.faults:
        click.secho(f"{totals.faults:,} records are left that must go: run `touchline erase` for the person", fg="red")
        sys.exit(LEFT)
    click.secho("Nothing is left that an erasure deletes.", fg="green")


@contextmanager
def open_store() -> Iterator[tuple[ClickHouse, ErasureStore]]:
    """Yield a connection and its store, and close the connection at the end of the block."""
    from deploy.erase.queries import ErasureStore
    from sinks.clickhouse import ClickHouse
    from sinks.connection import ClickHouseSettings

    client = ClickHouse()
    try:
        yield client, ErasureStore(client, ClickHouseSettings().cluster)
    finally:
        client.close()
