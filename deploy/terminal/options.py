"""Types of options that several commands share."""

import re

import click

TIME = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"))


class ProcessName(click.ParamType):
    """Name of a process: the name of its folder, and a label of its metrics."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. Raises click.BadParameter for a name that cannot be a folder."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
            self.fail("use 1 to 100 letters, digits, dots, dashes and underscores; begin with a letter or digit", param, ctx)
        return value


PROCESS_NAME = ProcessName()
