"""The one layout of tables: no borders, two blanks between columns, no cell cut where the terminal is 80 columns wide."""

from rich.table import Table

RIGHT, WRAP = ">", "~"


def table(*headings: str, title: str | None = None, note: str | None = None) -> Table:
    """Return an empty table. A heading that starts with `>` aligns right; one that starts with `~` wraps its cells.

    All other columns keep each cell on one line, so ids, times and numbers stay whole. Give `~` to the columns with long text.
    """
    made = Table(
        title=title, title_justify="left", title_style="bold", caption=note, caption_justify="left", box=None, pad_edge=False
    )
    made.padding = (0, 2, 0, 0)
    for heading in headings:
        wraps = heading.startswith(WRAP)
        made.add_column(
            heading.lstrip(RIGHT + WRAP),
            justify="right" if heading.startswith(RIGHT) else "left",
            no_wrap=not wraps,
            overflow="fold",
        )
    return made
