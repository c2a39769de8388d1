"""`python -m deploy.demo.simulator --seed 7 --customers 600 --out DIR` writes DIR/drops and DIR/truth."""

from datetime import UTC, datetime
from pathlib import Path

import click

from deploy.demo.simulator.company import generate
from deploy.demo.simulator.people import MAX_CUSTOMERS
from schemas.errors import ConfigError


@click.command()
@click.option("--seed", default=7, show_default=True, help="The same seed writes the same bytes.")
@click.option("--customers", type=click.IntRange(1, MAX_CUSTOMERS), default=600, show_default=True)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2026-11-01",
    show_default=True,
    help="End of the simulated time, UTC.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new or empty folder.")
def main(seed: int, customers: int, until: datetime, out: Path) -> None:
    """Write a simulated telecom company: vendor-shaped files in OUT/drops, known facts in OUT/truth."""
    if out.exists() and any(out.iterdir()):
        raise click.ClickException(str(ConfigError(f"{out} is not empty: name a new folder, or remove it first")))
    rows = generate(seed, customers, until.replace(tzinfo=UTC), out)
    click.echo(f"{rows:,} simulated touchpoints of {customers:,} customers in {out / 'drops'}; the truth is in {out / 'truth'}")


if __name__ == "__main__":
    main()
