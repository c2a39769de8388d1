"""Inventory and logistics: events of the goods that a customer waits for."""

from typing import Literal

from schemas.records.fields import Word
from schemas.records.touchpoint import Touchpoint


class Inventory(Touchpoint):
    """Usual types: stock.out, stock.restocked, shipment.sent, shipment.delayed, delivery.completed, installation.completed.

    `delay_days` is the delay against the promised date, of the event or of its new estimate; negative if early.
    """

    source: Literal["inventory"] = "inventory"
    order_id: Word | None = None
    product: Word | None = None
    quantity: float | None = None
    warehouse: Word | None = None
    delay_days: float | None = None
