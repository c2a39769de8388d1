"""`touchline schemas`: the schemas of all Kafka records, frozen per released version."""

import json

import click

from schemas.errors import ConfigError


@click.group()
def command() -> None:
    """Show, check and register the schemas of Kafka records.

    Example: touchline schemas check
    """


@command.command()
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """List all schemas, or print one.

    NAME is a schema, for its newest version, or a schema with a version, such as erp-1.

    Example: touchline schemas show erp
    """
    from schemas.wire.registry import load_schema, newest_ids, schema_versions

    identifiers = newest_ids() | {versioned: schema_id for schema_id, versioned in schema_versions().items()}

    if name is None:
        for schema_id, versioned in sorted(schema_versions().items()):
            click.echo(f"{schema_id:>4}  {versioned}")
    elif name in identifiers:
        click.echo(json.dumps(load_schema(identifiers[name]), indent=1))
    else:
        raise ConfigError(f"there is no schema {name}: `touchline schemas show` lists them")


@command.command()
def check() -> None:
    """Compare the models with the newest frozen schemas.

    Ends with code 2 where they differ.

    Example: touchline schemas check
    """
    from schemas.wire.registry import find_changed_models

    changed = find_changed_models()
    if changed:
        raise ConfigError(f"the models of {', '.join(changed)} changed: freeze them with `touchline schemas register`")
    click.echo("every model equals its newest frozen schema")


@command.command()
def register() -> None:
    """Freeze a new version of each changed model.

    Refuses a change that makes old records unreadable.

    Example: touchline schemas register
    """
    from schemas.wire.registry import find_changed_models, register

    for name in find_changed_models():
        click.echo(f"froze {register(name)}")
