"""Views of one customer at a time, from the text of the views of all: `touchline.customers_of(customer_id = '…')`. Pure.

Whose a touchpoint is now stands in no sort key, because merges change it: `WHERE customer_id = …` on `touchpoints` reads all. The
twin asks `touchpoints_of_customers` which touchpoints may be the customer's, reads the newest row of each of these by its id, and
leaves it to the view's own text to say whose they are. It shows what the view with that condition would show, only sooner.
"""

import re

TWINS = ("touchpoints", "journey_steps", "customers")
ALL = "(SELECT * FROM touchline_store.touchpoints FINAL)"
POSSIBLE = """(
    SELECT * FROM touchline_store.touchpoints
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
FORM = re.compile(r"CREATE OR REPLACE VIEW touchline\.(\w+)\n(.*?\n\))\nAS\n(.*)\nCOMMENT '(.*)'", re.DOTALL)


def of_one_customer(view: str) -> str:
    """The statement that makes the twin of a view."""
    form = FORM.fullmatch(view)
    assert form
    name, columns, select, comment = form.groups()
    select = select.replace(ALL, POSSIBLE)
    select = LOOKED_UP.sub(r"\g<0>_of(customer_id = {customer_id:UUID})", select)
    select = SORTED.sub(r"(SELECT * FROM touchline.\1 WHERE customer_id = {customer_id:UUID})", select)
    if name == "touchpoints":
        select = f"SELECT * FROM\n(\n{select}\n)\nWHERE customer_id = {{customer_id:UUID}}"
    return f"CREATE OR REPLACE VIEW touchline.{name}_of\n{columns}\nAS\n{select}\nCOMMENT 'Of one customer: {comment}'"
