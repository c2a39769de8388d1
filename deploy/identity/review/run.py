"""Steps of a review: find pairs of customers, ask about each, and send the confirmed ones to the sequencer."""

from collections.abc import Iterable, Sequence

import click
from rich.console import Console

from deploy.identity.decisions import read_user_name, send_decisions
from deploy.identity.review.model import find_matches
from deploy.identity.review.output import show_proposal
from deploy.identity.review.proposals import Proposal, make_proposals, make_review
from deploy.identity.review.records import read_records, read_splits, to_rows
from deploy.terminal.text import format_count
from deploy.topics import require_topics
from schemas.service.connection import KafkaSettings
from sinks.clickhouse import ClickHouse


def find_proposals(minimum: float) -> list[Proposal]:
    """Return the pairs of customers with at least this probability, the most probable first."""
    client = ClickHouse()
    try:
        records, apart = read_records(client), read_splits(client)
    finally:
        client.close()
    click.echo(f"compare {format_count(len(records), 'record')}", err=True)
    return make_proposals(records, find_matches(*to_rows(records), minimum), apart)


def confirm(on: Console, proposals: Iterable[Proposal]) -> list[Proposal]:
    """Ask about each pair, and return the confirmed ones. `q` ends the questions and keeps the answers before."""
    confirmed = []
    for each in proposals:
        show_proposal(on, each)
        answer = click.prompt("One person?", type=click.Choice(["y", "n", "q"]), default="n")
        if answer == "q":
            break
        if answer == "y":
            confirmed.append(each)
    return confirmed


def join_customers(proposals: Sequence[Proposal], *, reason: str, who: str | None) -> None:
    """Send a decision for each pair, wait until all took effect, and print the number of pairs that were not linked."""
    if not proposals:
        click.echo("Nothing was decided.", err=True)
        return
    settings = KafkaSettings()
    require_topics(settings)
    name = who or read_user_name()
    outcome = send_decisions(settings, [make_review(each, reason=reason, who=name) for each in proposals])
    click.echo(f"{format_count(len(outcome.decisions), 'pair')} decided.", err=True)
    if outcome.conflicts:
        refused = format_count(len(outcome.conflicts), "link")
        click.echo(f"{refused} refused: `touchline identity conflicts` lists them with the reason.", err=True)
