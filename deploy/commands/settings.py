"""`touchline settings`: every `TOUCHLINE_...` environment variable, with its default and its meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from schemas.service.settings import EnvironmentSettings

HEAD = """# Settings
All settings are environment variables. `make settings` writes this page from the settings models. A connector has its settings in
a YAML file, described in the README of its folder, and its secrets in variables such as `TOUCHLINE_SHOP_TOKEN`, for the setting
`token` of the instance `shop`.
"""


class Setting(NamedTuple):
    """One environment variable; an empty `default` means none."""

    variable: str
    default: str
    meaning: str


@click.command()
@click.option("--markdown", is_flag=True, help="Print the page deploy/SETTINGS.md.")
def command(*, markdown: bool) -> None:
    """List the environment variables that configure Touchline.

    Example: touchline settings
    """
    if markdown:
        click.echo(render_page(), nl=False)
        return
    from rich.padding import Padding

    from deploy.terminal.console import console

    out = console()
    for title, model in settings_models().items():
        out.print(title, style="bold")
        for setting in describe(model):
            out.print(f"  {setting.variable} ({setting.default or 'no default'})", style="cyan", markup=False)
            out.print(Padding(setting.meaning, (0, 0, 0, 4)))


def settings_models() -> dict[str, type[EnvironmentSettings]]:
    """Return the models by title, in the order of the page."""
    from deploy.local.settings import LocalSettings
    from deploy.rebuild.settings import RebuildSettings
    from schemas.service.connection import KafkaSettings
    from schemas.service.secret import IdentitySecretSettings
    from schemas.service.settings import ProcessSettings
    from sinks.connection import ClickHouseSettings
    from streams.identity.compound_keys import CompoundSettings
    from streams.identity.settings import IdentitySettings
    from streams.settings import StreamsSettings

    return {
        "Kafka": KafkaSettings,
        "ClickHouse": ClickHouseSettings,
        "Workers": StreamsSettings,
        "Rebuild": RebuildSettings,
        "Identity": IdentitySecretSettings,
        "Identity rules": IdentitySettings,
        "Compound keys": CompoundSettings,
        "Processes": ProcessSettings,
        "Local stack": LocalSettings,
    }


def describe(model: type[EnvironmentSettings]) -> Iterator[Setting]:
    """Yield the settings of a model: required ones first, those of TLS last."""
    prefix = str(model.model_config.get("env_prefix", ""))
    fields = sorted(model.model_fields.items(), key=lambda each: (not each[1].is_required(), each[0].startswith("ssl_")))
    for name, field in fields:
        default = "required" if field.is_required() else _format_default(field.default)
        yield Setting(f"{prefix}{name}".upper(), default, field.description or "")


def render_page() -> str:
    """Return the Markdown page of all settings."""
    parts = [HEAD]
    for title, model in settings_models().items():
        rows = [f"- `{each.variable}` ({each.default or 'no default'}): {each.meaning}" for each in describe(model)]
        parts.append(f"\n## {title}\n" + "\n".join(map(_wrap, rows)) + "\n")
    return "".join(parts)


def _format_default(default: Any) -> str:
    if default is None or default == "":
        return ""
    get_secret = getattr(default, "get_secret_value", None)
    return str(get_secret() if get_secret else default)


def _wrap(row: str) -> str:
    import textwrap

    return textwrap.fill(row, 125, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
