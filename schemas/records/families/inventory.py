"""Inventory and logistics: what happened to the goods a customer waits for."""

from typing import Literal

from schemas.records.fields import Word
from schemas.records.touchpoint import Touchpoint


class Inventory(Touchpoint):
    """Usual types: stock.out, stock.restocked, shipment.sent, shipment.delayed, delivery.completed, installation.completed.

    `delay_days` is how much later than promised it happened, or is now expected; negative when early.
    """

    source: Literal["inventory"] = "inventory"
    order_id: Word | None = None
    product: Word | None = None
    quantity: float | None = None
    warehouse: Word | None = None
    delay_days: float | None = None
