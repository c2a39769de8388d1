"""ERP: orders, invoices and payments."""

from typing import Literal

from schemas.records.fields import Currency, Money, Word
from schemas.records.touchpoint import Touchpoint


class Erp(Touchpoint):
    """Usual types: order.placed, order.cancelled, invoice.issued, invoice.corrected, payment.received, payment.failed."""

    source: Literal["erp"] = "erp"
    order_id: Word | None = None
    invoice_id: Word | None = None
    product: Word | None = None
    quantity: float | None = None
    amount: Money | None = None
    currency: Currency | None = None
