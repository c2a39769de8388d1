"""Fill the database `ct` of a Tryton configuration: a company that sells widgets. Runs with Tryton's own Python.

argv: the configuration file, the number of customers. Each has a draft sale that was a quote twice before, each time all of them
at once, so that their transitions are of one instant.
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


def widget(expense: object, revenue: object) -> object:
    """A product on stock."""
    category = Model.get("product.category")(name="Widgets", accounting=True)
    category.account_expense, category.account_revenue = expense, revenue
    category.save()
    [unit] = Model.get("product.uom").find([("name", "=", "Unit")])
    template = Model.get("product.template")(name="Widget", type="goods", default_uom=unit, salable=True, list_price=Decimal(10))
    template.account_category = category
    template.save()
    [product] = template.products
    [storage] = Model.get("stock.location").find([("code", "=", "STO")])
    inventory = Model.get("stock.inventory")(location=storage)
    inventory.lines.new(product=product, quantity=1_000.0, expected_quantity=0.0)
    inventory.click("confirm")
    return product


def customer(number: int, product: object, term: object) -> object:
    """A party with e-mail and phone, and its sale."""
    party = Model.get("party.party")(name=f"Customer {number}")
    party.contact_mechanisms.new(type="email", value=f"c{number}@example.org")
    party.contact_mechanisms.new(type="phone", value=f"+1212555{number:04}")
    party.save()
    sale = Model.get("sale.sale")(party=party, payment_term=term, invoice_method="order")
    line = sale.lines.new()
    line.product, line.quantity = product, 2.0
    sale.save()
    return sale


def main(file: str, customers: int) -> None:
    config.set_trytond("ct", user="admin", config_file=file)
    product = widget(*books())
    term = create_payment_term()
    term.save()
    sales = [customer(number, product, term) for number in range(customers)]
    for step in ("quote", "draft", "quote", "draft"):
        Model.get("sale.sale").click(sales, step)
    Model.get("res.user")(name="Reader", login="reader", password="not-an-administrator").save()
    lead = Model.get("sale.opportunity")(party=sales[0].party, description="Forty widgets", address=sales[0].invoice_address)  # type: ignore[attr-defined]
    lead.save()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
