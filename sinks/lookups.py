"""Views of one customer, `touchline.customers_of(customer_id = '…')`, made from the text of the views of all. Pure.

Merges change the customer of a touchpoint, so no sort key contains it, and `WHERE customer_id = …` on `touchpoints` reads all
rows. A view of one customer asks `touchpoints_of_customers` for the touchpoints that may belong to the customer, and reads the
newest row of each by its id. The text of the original view then decides which of them do. The result is the same.
"""

import re
from collections.abc import Mapping

CUSTOMER_VIEWS = ("touchpoints", "journey_steps", "customers")
ALL_TOUCHPOINTS = "(SELECT * FROM touchline_store.touchpoints_by_event FINAL)"
TOUCHPOINTS_OF_ONE = """(
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
TOUCHPOINTS_VIEW = re.compile(r"touchline\.touchpoints\b")
STATE_VIEWS = re.compile(r"touchline\.(satisfaction|churn|journeys)\b")
VISIBLE = """WHERE stored.customer_id NOT IN (SELECT from_customer FROM touchline_store.merges)
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erasures)"""
OF_ONE_CUSTOMER = "WHERE toUUID(UUIDNumToString(stored.customer_id)) = {customer_id:UUID}"
VIEW_FORM = re.compile(r"CREATE OR REPLACE VIEW touchline\.\w+\n(.*?\n\))\nAS\n(.*)\nCOMMENT '(.*)'", re.DOTALL)


def make_customer_view(name: str, views: Mapping[str, str]) -> str:
    """Return the statement of the view of one customer; `views` holds the text of all views by name.

    A customer with visible touchpoints is neither merged nor erased, so its readings and journeys need no second check.
    """
    columns, select, comment = _split_view(views[name])
    select = select.replace(ALL_TOUCHPOINTS, TOUCHPOINTS_OF_ONE)
    select = TOUCHPOINTS_VIEW.sub(r"\g<0>_of(customer_id = {customer_id:UUID})", select)
    select = STATE_VIEWS.sub(lambda found: f"({_split_view(views[found[1]])[1].replace(VISIBLE, OF_ONE_CUSTOMER)})", select)
    if name == "touchpoints":
        select = f"SELECT * FROM\n(\n{select}\n)\nWHERE customer_id = {{customer_id:UUID}}"
    return f"CREATE OR REPLACE VIEW touchline.{name}_of\n{columns}\nAS\n{select}\nCOMMENT 'One customer: {comment}'"


def _split_view(view: str) -> tuple[str, str, str]:
    """Return columns, SELECT and comment of a view's statement."""
    columns, select, comment = VIEW_FORM.findall(view)[0]
    return columns, select, comment
