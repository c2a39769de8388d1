"""The ERP: sales orders, billing documents and payments with the field names of SAP S/4HANA.

A placed and a rejected order are two versions of one SalesOrder; amounts are strings with two decimals.
"""

from random import Random

from deploy.demo.simulator.timeline import Event
from deploy.demo.simulator.vendors.record import Feed, Known, Record, format_time
from deploy.demo.simulator.vendors.spelling import vary_email

CONTACT = "YY1_CRMContactID_SDH"
FEEDS = {
    "orders": Feed(
        "erp",
        "erp/sales_orders",
        "csv",
        (
            *(
                "SalesOrder",
                "SoldToParty",
                CONTACT,
                "EmailAddress",
                "DistributionChannel",
                "Material",
                "RequestedQuantity",
            ),
            *(
                "TotalNetAmount",
                "TransactionCurrency",
                "OverallSDProcessStatus",
                "OverallSDDocumentRejectionSts",
                "LastChangeDateTime",
            ),
        ),
    ),
    "invoices": Feed(
        "erp",
        "erp/billing_documents",
        "csv",
        (
            *("BillingDocument", "BillingDocumentType", "SoldToParty", "EmailAddress"),
            *("TotalNetAmount", "TransactionCurrency", "LastChangeDateTime"),
        ),
    ),
    "payments": Feed(
        "erp",
        "erp/payments",
        "csv",
        (
            *("AccountingDocument", "Customer", "BillingDocument", "PaymentReturnReason"),
            *("AmountInTransactionCurrency", "TransactionCurrency", "LastChangeDateTime"),
        ),
    ),
}
TYPES = ("order.placed", "order.cancelled", "invoice.issued", "invoice.corrected", "payment.received", "payment.failed")
CHANNELS = {"store": "10", "web": "20", "phone": "30"}


def render(event: Event, _: int, rng: Random) -> Record:
    """Return the document of one event. Documents have numbers of their own."""
    family = event.type.partition(".")[0]
    stamp = {"TransactionCurrency": "USD", "LastChangeDateTime": format_time(event.at)}
    feed, values, known = {"order": _order, "invoice": _invoice, "payment": _payment}[family](event, rng)
    return Record(feed, event.at, event, values | stamp, known)


def _order(event: Event, rng: Random) -> tuple[str, dict[str, object], Known]:
    facts, person, cancelled = event.facts, event.person, event.type == "order.cancelled"
    known: Known = (("erp_party", person.party),)
    values: dict[str, object] = {
        "SalesOrder": facts["order"],
        "SoldToParty": person.party,
        "DistributionChannel": CHANNELS.get(str(facts.get("channel"))),
        "Material": facts["product"],
        "RequestedQuantity": facts["quantity"],
        "TotalNetAmount": f"{facts['amount']:.2f}",
        "OverallSDProcessStatus": "C" if cancelled else "A",
        "OverallSDDocumentRejectionSts": "C" if cancelled else "A",
    }
    if person.erp_link == "contact":
        return "orders", values | {CONTACT: person.contact}, (*known, ("crm_contact", person.contact))
    if person.erp_link == "email":
        return "orders", values | {"EmailAddress": vary_email(person.email, rng)}, (*known, ("email", person.email))
    return "orders", values, known


def _invoice(event: Event, rng: Random) -> tuple[str, dict[str, object], Known]:
    facts, person = event.facts, event.person
    values: dict[str, object] = {
        "BillingDocument": facts["invoice"],
        "BillingDocumentType": "F2" if event.type == "invoice.issued" else "G2",
        "SoldToParty": person.party,
        "TotalNetAmount": f"{facts['amount']:.2f}",
    }
    known: Known = (("erp_party", person.party),)
    if person.erp_link in ("email", "late email"):
        return (
            "invoices",
            values | {"EmailAddress": vary_email(person.email, rng)},
            (*known, ("email", person.email)),
        )
    return "invoices", values, known


def _payment(event: Event, rng: Random) -> tuple[str, dict[str, object], Known]:
    facts, person = event.facts, event.person
    values: dict[str, object] = {
        "AccountingDocument": facts["payment"],
        "Customer": person.party,
        "BillingDocument": facts["invoice"],
        "PaymentReturnReason": rng.choice(("AC04", "AM04", "MS03")) if event.type == "payment.failed" else None,
        "AmountInTransactionCurrency": f"{facts['amount']:.2f}",
    }
    return "payments", values, (("erp_party", person.party),)
