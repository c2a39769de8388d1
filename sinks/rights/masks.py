"""Which columns of the views hold personal data, and what is read instead without the role `touchline_pii`. Pure.

A view with such columns becomes two: `touchline_unmasked.<view>` computes the values and the masks, by the rights of
`touchline_definer`; `touchline.<view>` chooses between them by the rights of whoever reads. Only the role holds SELECT on the
unmasked columns, so a mistake in the choice is a refusal, never a disclosure. Other views are computed by the definer, who has
the role: `touchline.customers` finds the segment among masked attributes.
"""

import re

from schemas.errors import ConfigError

# Attributes are whatever a source said: names and addresses for all we know. These few are named by our schemas and views.
OPEN_ATTRIBUTES = ("segment", "priority", "warehouse", "contract_id", "invoice_id", "opportunity_id")
MASKS = {
    "touchpoints": {
        "text": "if(isNull(text), NULL, '***')",
        "attributes": f"mapApply((name, said) -> (name, if(name IN {OPEN_ATTRIBUTES}, said, '***')), attributes)",
    },
    "dead_letters": {"key": "if(isNull(key), NULL, '***')", "payload": "'***'"},
}
FORM = re.compile(
    r"CREATE OR REPLACE VIEW touchline\.(?P<name>\w+)\n(?P<columns>\(\n.*?\n\))\nAS\n(?P<select>.*)\n(?P<comment>COMMENT '.*')",
    re.DOTALL,
)
PARAMETER = re.compile(r"\{(\w+):(\w+)\}")
# What a reader's client may have set otherwise, as tools for reports do, and a view would answer otherwise by: joins would lose
# rows, and a list of merged or erased customers would end where a limit of the reader's own cuts it off.
PINNED = (
    "join_use_nulls = 0, aggregate_functions_null_for_empty = 0, prefer_column_name_to_alias = 0,"
    " join_overflow_mode = 'throw', set_overflow_mode = 'throw', read_overflow_mode = 'throw', timeout_overflow_mode = 'throw'"
)
DEFINER = "DEFINER = touchline_definer SQL SECURITY DEFINER"


def masks(view: str) -> dict[str, str]:
    """What readers without `touchline_pii` see of a view's columns; a view of one customer masks what the view of all does."""
    return MASKS.get(view.removesuffix("_of"), {})


def secured(statement: str) -> list[str]:
    """The statements that make a view of `sinks/views` with its rights and masks. Raises ConfigError for another form."""
    form = FORM.fullmatch(statement)
    if form is None:
        raise ConfigError("a view is one CREATE OR REPLACE VIEW touchline.<name> (columns) AS <select> COMMENT '<what it is>'")
    name, columns, select, comment = form.groups()
    select = f"{select}\nSETTINGS {PINNED}"
    chosen = masks(name)
    if not chosen:
        return [f"CREATE OR REPLACE VIEW touchline.{name}\n{columns}\n{DEFINER}\nAS\n{select}\n{comment}"]
    masked = ",\n    ".join(f"{mask} AS {column}_masked" for column, mask in chosen.items())
    choice = ",\n    ".join(
        f"if(has(enabledRoles(), 'touchline_pii'), {column}, {column}_masked) AS {column}" for column in chosen
    )
    values = f"SELECT\n    *,\n    {masked}\nFROM\n(\n{select}\n)"
    parameters = ", ".join(f"{parameter} = {{{parameter}:{kind}}}" for parameter, kind in sorted({*PARAMETER.findall(select)}))
    read = f"{name}({parameters})" if parameters else name
    left_out = ", ".join(f"{column}_masked" for column in chosen)
    shown = f"SELECT * EXCEPT ({left_out}) REPLACE\n(\n    {choice}\n)\nFROM touchline_unmasked.{read}"
    return [
        f"CREATE OR REPLACE VIEW touchline_unmasked.{name}\n{DEFINER}\nAS\n{values}",
        f"CREATE OR REPLACE VIEW touchline.{name}\n{columns}\nSQL SECURITY INVOKER\nAS\n{shown}\n{comment}",
    ]


def by_definer(statement: str) -> str:
    """A statement of a migration; materialized views read and write by the definer's rights, whoever inserts."""
    return statement.replace("\nAS\n", f"\n{DEFINER}\nAS\n", 1) if statement.startswith("CREATE MATERIALIZED VIEW") else statement
