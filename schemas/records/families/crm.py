"""CRM: leads, opportunities, contracts, and the calls and e-mails of the sales team."""

from typing import Literal

from schemas.records.fields import Currency, Money, Word
from schemas.records.touchpoint import Touchpoint


class Crm(Touchpoint):
    """Usual types: inquiry.received, opportunity.won, opportunity.lost, contract.signed, contract.cancelled, call.logged."""

    source: Literal["crm"] = "crm"
    opportunity_id: Word | None = None
    contract_id: Word | None = None
    order_id: Word | None = None
    product: Word | None = None
    amount: Money | None = None
    currency: Currency | None = None
