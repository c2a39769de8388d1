"""Masks of personal data in the views, and the grants on their other columns. Pure.

A column is masked when its COMMENT in `sinks/views/<view>.sql` contains the words `personal data`; its type decides the mask.
Such a view becomes two:

- `touchline_unmasked.<view>` computes clear values and masks with the rights of `touchline_definer`;
- `touchline.<view>` selects one of them with the rights of the reader, by the role `touchline_pii`.

Analysts hold SELECT on a list of columns of `touchline_unmasked`. ClickHouse checks a subcolumn (`text.size`,
`attributes.values`, `attributes.key_iban`) under its own name, and a list grants none. A wrong choice in `touchline.<view>` is
therefore refused and discloses nothing. Other views run with the rights of the definer, which has the role.
"""

import re
from collections.abc import Iterable

from schemas.errors import ConfigError

PERSONAL = "personal data"
# A source may send anything as an attribute, names and addresses included. Our own schemas and views define these few.
OPEN_ATTRIBUTES = ("segment", "priority", "warehouse", "contract_id", "invoice_id", "opportunity_id")
MASKS = {
    "String": "'***'",
    "Array(String)": "arrayMap(value -> '***', {0})",
    "Nullable(String)": "if(isNull({0}), NULL, '***')",
    "Map(LowCardinality(String), String)": (
        f"mapApply((name, value) -> (name, if(name IN {OPEN_ATTRIBUTES}, value, '***')), {{0}})"
    ),
}
VIEW_FORM = re.compile(
    r"CREATE OR REPLACE VIEW touchline\.(?P<name>\w+)\n(?P<columns>\(\n.*?\n\))\nAS\n(?P<select>.*)\n(?P<comment>COMMENT '.*')",
    re.DOTALL,
)
COLUMN = re.compile(r"^    (\w+) (.+?)\s+COMMENT '(.*)',?$", re.MULTILINE)
PARAMETER = re.compile(r"\{(\w+):(\w+)\}")
# A reporting tool may set these otherwise for its reader. Joins would then lose rows, and a limit of the reader would shorten the
# lists of merged and erased customers. The last two settings filter any table of a view by an expression, unchecked by grants.
PINNED_SETTINGS = (
    "join_use_nulls = 0, aggregate_functions_null_for_empty = 0, prefer_column_name_to_alias = 0,"
    " join_overflow_mode = 'throw', set_overflow_mode = 'throw', read_overflow_mode = 'throw', timeout_overflow_mode = 'throw',"
    " additional_table_filters = {}, parallel_replicas_custom_key = ''"
)
DEFINER = "DEFINER = touchline_definer SQL SECURITY DEFINER"


def find_masks(view: str) -> dict[str, str]:
    """Return the mask of each personal column of a view's statement. Raises ConfigError for a type that has no mask."""
    form = _split_view(view)
    personal = {name: kind for name, kind, comment in COLUMN.findall(form["columns"]) if PERSONAL in comment}
    for name, kind in personal.items():
        if kind not in MASKS:
            raise ConfigError(f"view {form['name']}: column {name} of type {kind} has no mask; add one to sinks/rights/masks.py")
    return {name: MASKS[kind].format(name) for name, kind in personal.items()}


def secure_view(view: str) -> list[str]:
    """Return the statements that create a view with its rights and masks. Raises ConfigError for another form."""
    name, columns, select, comment = _split_view(view).groups()
    select = f"{select}\nSETTINGS {PINNED_SETTINGS}"
    masks = find_masks(view)
    if not masks:
        return [f"CREATE OR REPLACE VIEW touchline.{name}\n{columns}\n{DEFINER}\nAS\n{select}\n{comment}"]
    masked = ",\n    ".join(f"{mask} AS {column}_masked" for column, mask in masks.items())
    choice = ",\n    ".join(
        f"if(has(enabledRoles(), 'touchline_pii'), {column}, {column}_masked) AS {column}" for column in masks
    )
    values = f"SELECT\n    *,\n    {masked}\nFROM\n(\n{select}\n)"
    parameters = ", ".join(f"{parameter} = {{{parameter}:{kind}}}" for parameter, kind in sorted({*PARAMETER.findall(select)}))
    source = f"{name}({parameters})" if parameters else name
    omitted = ", ".join(f"{column}_masked" for column in masks)
    shown = (
        f"SELECT * EXCEPT ({omitted}) REPLACE\n(\n    {choice}\n)\nFROM touchline_unmasked.{source}\nSETTINGS {PINNED_SETTINGS}"
    )
    return [
        f"CREATE OR REPLACE VIEW touchline_unmasked.{name}\n{DEFINER}\nAS\n{values}",
        f"CREATE OR REPLACE VIEW touchline.{name}\n{columns}\nSQL SECURITY INVOKER\nAS\n{shown}\n{comment}",
    ]


def find_open_columns(views: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns of each masked view that an analyst may read in `touchline_unmasked`."""
    found = {}
    for view in views:
        if masks := find_masks(view):
            names = [name for name, _, _ in COLUMN.findall(_split_view(view)["columns"]) if name not in masks]
            found[_split_view(view)["name"]] = [*names, *(f"{name}_masked" for name in masks)]
    return found


def make_analyst_grants(views: Iterable[str]) -> list[str]:
    """Return the grants on `touchline_unmasked`, without their grantee."""
    opened = find_open_columns(views).items()
    return [f"GRANT SELECT({', '.join(columns)}) ON touchline_unmasked.{name}" for name, columns in opened]


def add_definer(statement: str) -> str:
    """Return a migration's statement; a materialized view reads and writes with the definer's rights, for any inserting user."""
    return statement.replace("\nAS\n", f"\n{DEFINER}\nAS\n", 1) if statement.startswith("CREATE MATERIALIZED VIEW") else statement


def _split_view(view: str) -> re.Match[str]:
    form = VIEW_FORM.fullmatch(view)
    if form is None:
        raise ConfigError("a view is one CREATE OR REPLACE VIEW touchline.<name> (columns) AS <select> COMMENT '<description>'")
    return form
