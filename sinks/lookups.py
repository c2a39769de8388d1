"""Views of one customer, `touchline.customers_of(customer_id = '…')`, made from the text of the views of all. Pure.

Merges and splits change the customer of a touchpoint, so no sort key contains it, and `WHERE customer_id = …` on `touchpoints`
reads all rows. A view of one customer finds the customer ids whose route leads to this customer. It asks
`touchpoints_of_customers` for their touchpoints, and reads the newest row of each by its id. The text of the original view then
decides which of them belong to the customer. The result is the same.
"""

import re
from collections.abc import Mapping

from sinks.rights.masks import COLUMN

CUSTOMER_VIEWS = ("touchpoints", "journey_steps", "customers", "identifiers", "identities", "identity_evidence")
FILTERED = ("touchpoints", "identifiers")
ALL_TOUCHPOINTS = "(SELECT * FROM touchline_store.touchpoints_by_event FINAL)"
FORMER_CUSTOMERS = """(
            SELECT UUIDToNum({customer_id:UUID})
            UNION ALL
            SELECT customer_id FROM touchline_store.routes
            WHERE current = UUIDToNum({customer_id:UUID})
                OR has(exception_customers, UUIDToNum({customer_id:UUID})) OR has(shared, UUIDToNum({customer_id:UUID}))
        )"""
TOUCHPOINTS_OF_ONE = """(
    SELECT * FROM touchline_store.touchpoints_by_event
    WHERE event_id IN (
        SELECT event_id FROM touchline_store.touchpoints_of_customers WHERE customer_id IN FORMER
    )
    ORDER BY received_at DESC, stored_at DESC
    LIMIT 1 BY event_id
)""".replace("FORMER", FORMER_CUSTOMERS)
CURRENT_OF_ALL = "LEFT ANY JOIN touchline_store.current_customers AS now"
CURRENT_OF_ONE = """LEFT ANY JOIN (
    SELECT * FROM touchline_store.current_customers WHERE customer_id_then IN FORMER
) AS now""".replace("FORMER", FORMER_CUSTOMERS)
MEMBERS_OF_ALL = "(SELECT * FROM touchline_store.members FINAL)"
MEMBERS_OF_ONE = """(
    SELECT * FROM touchline_store.members FINAL
    WHERE toUUID(UUIDNumToString(identifier_id)) IN (
        SELECT toUUID(UUIDNumToString(identifier_id)) FROM touchline_store.member_owners
        WHERE customer_id = UUIDToNum({customer_id:UUID})
    )
)"""
EVIDENCE_OF_ALL = "(SELECT * FROM touchline_store.evidence FINAL)"
EVIDENCE_OF_ONE = """(
    SELECT * FROM touchline_store.evidence FINAL
    WHERE event_id IN (
        SELECT event_id FROM touchline_store.touchpoints_of_customers WHERE customer_id IN FORMER
    )
)""".replace("FORMER", FORMER_CUSTOMERS)
FILTERED_VIEWS = re.compile(rf"touchline\.({'|'.join(FILTERED)})\b")
STATE_VIEWS = re.compile(r"touchline\.(satisfaction|churn|journeys)\b")
NOT_ERASED = "stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)"
OF_ONE_CUSTOMER = "toUUID(UUIDNumToString(stored.customer_id)) = {customer_id:UUID}"
VIEW_FORM = re.compile(r"CREATE OR REPLACE VIEW touchline\.\w+\n(.*?\n\))\nAS\n(.*)\nCOMMENT '(.*)'", re.DOTALL)


def make_customer_view(name: str, views: Mapping[str, str]) -> str:
    """Return the statement of the view of one customer; `views` holds the text of all views by name.

    A customer with visible touchpoints is not erased, so its readings and journeys need no second check. A view with a parameter
    shows all columns of its query, so the query selects the declared ones. A shard does not receive the parameter, so no
    condition of a stored table reads another view of one customer.
    """
    columns, select, comment = _split_view(views[name])
    select = select.replace(ALL_TOUCHPOINTS, TOUCHPOINTS_OF_ONE).replace(CURRENT_OF_ALL, CURRENT_OF_ONE)
    select = select.replace(MEMBERS_OF_ALL, MEMBERS_OF_ONE).replace(EVIDENCE_OF_ALL, EVIDENCE_OF_ONE)
    select = FILTERED_VIEWS.sub(r"\g<0>_of(customer_id = {customer_id:UUID})", select)
    select = STATE_VIEWS.sub(lambda found: f"({_split_view(views[found[1]])[1].replace(NOT_ERASED, OF_ONE_CUSTOMER)})", select)
    names = ", ".join(column for column, _, _ in COLUMN.findall(columns))
    select = f"SELECT {names} FROM\n(\n{select}\n)"
    if name in FILTERED:
        select += "\nWHERE customer_id = {customer_id:UUID}"
    return f"CREATE OR REPLACE VIEW touchline.{name}_of\n{columns}\nAS\n{select}\nCOMMENT 'One customer: {comment}'"


def _split_view(view: str) -> tuple[str, str, str]:
    """Return columns, SELECT and comment of a view's statement."""
    columns, select, comment = VIEW_FORM.findall(view)[0]
    return columns, select, comment
