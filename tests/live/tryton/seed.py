"""Fill the database `ct` of a Tryton configuration: a company that sells widgets and gadgets. Runs with Tryton's own Python.

argv: the configuration file, the numbers of customers and of returns. Each customer has a draft sale of two lines. Before, all
sales became a quote twice at the same instant, so that their transitions have equal times. The first customers also have the
draft of a sale that takes one of each product back.
"""

import sys
from decimal import Decimal

from proteus import Model, config  # type: ignore[import-not-found]
from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, get_accounts  # type: ignore[import-not-found]
from trytond.modules.account_invoice.tests.tools import (  # type: ignore[import-not-found]
    create_payment_term,
    set_fiscalyear_invoice_sequences,
)
from trytond.modules.company.tests.tools import create_company  # type: ignore[import-not-found]
from trytond.modules.currency.tests.tools import get_currency  # type: ignore[import-not-found]


def books() -> tuple[object, object]:
    """A company with a chart of accounts and a fiscal year; its accounts of expenses and of revenue."""
    create_company(currency=get_currency("USD"))
    create_chart()
    set_fiscalyear_invoice_sequences(create_fiscalyear()).click("create_period")
    accounts = get_accounts()
    return accounts["expense"], accounts["revenue"]


def products(expense: object, revenue: object) -> list[object]:
    """Two products on stock, of which only one has a code."""
    category = Model.get("product.category")(name="Widgets", accounting=True)
    category.account_expense, category.account_revenue = expense, revenue
    category.save()
    [unit] = Model.get("product.uom").find([("name", "=", "Unit")])
    [storage] = Model.get("stock.location").find([("code", "=", "STO")])
    inventory = Model.get("stock.inventory")(location=storage)
    found = []
    for name, price, code in (("Widget", 10, "W-1"), ("Gadget", 5, None)):
        template = Model.get("product.template")(
            name=name, type="goods", default_uom=unit, salable=True, list_price=Decimal(price)
        )
        template.account_category = category
        template.save()
        [product] = template.products
        product.suffix_code = code
        product.save()
        inventory.lines.new(product=product, quantity=1_000.0, expected_quantity=0.0)
        found.append(product)
    inventory.click("confirm")
    return found


def customer(number: int) -> object:
    """A party with e-mail and phone."""
    party = Model.get("party.party")(name=f"Customer {number}")
    party.contact_mechanisms.new(type="email", value=f"c{number}@example.org")
    party.contact_mechanisms.new(type="phone", value=f"+1212555{number:04}")
    party.save()
    return party


def sale(party: object, term: object, goods: list[tuple[object, float]]) -> object:
    """A draft sale of products in these quantities."""
    found = Model.get("sale.sale")(party=party, payment_term=term, invoice_method="order")
    for product, quantity in goods:
        line = found.lines.new()
        line.product, line.quantity = product, quantity
    found.save()
    return found


def main(file: str, customers: int, returns: int) -> None:
    config.set_trytond("ct", user="admin", config_file=file)
    widget, gadget = products(*books())
    term = create_payment_term()
    term.save()
    parties = [customer(number) for number in range(customers)]
    sales = [sale(party, term, [(widget, 2.0), (gadget, 1.0)]) for party in parties]
    for party in parties[:returns]:
        sale(party, term, [(widget, -1.0), (gadget, -1.0)])
    for step in ("quote", "draft", "quote", "draft"):
        Model.get("sale.sale").click(sales, step)
    Model.get("res.user")(name="Reader", login="reader", password="not-an-administrator").save()
    lead = Model.get("sale.opportunity")(party=parties[0], description="Forty widgets", address=sales[0].invoice_address)  # type: ignore[attr-defined]
    lead.save()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
