"""Views of one customer at a time, from the text of the views of all: `touchline.customers_of(customer_id = '…')`. Pure.

Whose a touchpoint is now stands in no sort key, because merges change it: `WHERE customer_id = …` on `touchpoints` reads all. The
twin asks `touchpoints_of_customers` which touchpoints may be the customer's, reads the newest row of each of these by its id, and
leaves it to the view's own text to say whose they are. It shows what the view with that condition would show, only sooner.
"""

import re
from collections.abc import Mapping

TWINS = ("touchpoints", "journey_steps", "customers")
ALL = "(SELECT * FROM touchline_store.touchpoints_by_event FINAL)"
POSSIBLE = """(
    SELECT * FROM touchline_store.touchpoints_by_event
    WHERE event_id IN (
        SELECT event_id FROM touchline_store.touchpoints_of_customers
        WHERE customer_id = UUIDToNum({customer_id:UUID}) OR customer_id IN (
            SELECT from_customer FROM touchline_store.merges WHERE to_customer = UUIDToNum({customer_id:UUID})
        )
    )
    ORDER BY received_at DESC, stored_at DESC
    LIMIT 1 BY event_id
)"""
LOOKED_UP = re.compile(r"touchline\.touchpoints\b")
SORTED = re.compile(r"touchline\.(satisfaction|churn|journeys)\b")
HIDDEN = """WHERE stored.customer_id NOT IN (SELECT from_customer FROM touchline_store.merges)
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erasures)"""
SHOWN = "WHERE toUUID(UUIDNumToString(stored.customer_id)) = {customer_id:UUID}"
FORM = re.compile(r"CREATE OR REPLACE VIEW touchline\.\w+\n(.*?\n\))\nAS\n(.*)\nCOMMENT '(.*)'", re.DOTALL)


def of_one_customer(name: str, views: Mapping[str, str]) -> str:
    """The statement that makes the twin of a view; `views` holds the text of every view by its name.

    Readings and journeys of a customer who has touchpoints are those that nobody hides: they are looked up without asking again.
    """
    columns, select, comment = _form(views[name])
    select = select.replace(ALL, POSSIBLE)
    select = LOOKED_UP.sub(r"\g<0>_of(customer_id = {customer_id:UUID})", select)
    select = SORTED.sub(lambda found: f"({_form(views[found[1]])[1].replace(HIDDEN, SHOWN)})", select)
    if name == "touchpoints":
        select = f"SELECT * FROM\n(\n{select}\n)\nWHERE customer_id = {{customer_id:UUID}}"
    return f"CREATE OR REPLACE VIEW touchline.{name}_of\n{columns}\nAS\n{select}\nCOMMENT 'Of one customer: {comment}'"


def _form(view: str) -> tuple[str, str, str]:
    """Columns, SELECT and comment of a view's statement."""
    columns, select, comment = FORM.findall(view)[0]
    return columns, select, comment
