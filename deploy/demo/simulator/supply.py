"""The company's products, and the periods in which its routers are out of stock, the same for all customers."""

from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from deploy.demo.simulator.parameters import Parameters


class Product(NamedTuple):
    """A device with its price in US dollars."""

    code: str
    price: float


ROUTERS = (Product("RTR-AX1800", 59.0), Product("RTR-AX3000", 99.0), Product("RTR-BE7200", 189.0))
REPEATER = Product("RPT-AX1800", 49.0)
PLANS = {"FIBER-100": 29.9, "FIBER-500": 44.9, "FIBER-1000": 59.9}


class Supply:
    """The stock of each router over time."""

    def __init__(self, rng: Random, parameters: Parameters, start: datetime, end: datetime) -> None:
        self.out: dict[str, list[tuple[datetime, datetime]]] = {}
        for product in ROUTERS:
            at, self.out[product.code] = start, []
            while at < end:
                at += timedelta(days=rng.expovariate(parameters.stock_outs_per_year / 365))
                back = at + timedelta(days=rng.randint(*parameters.stock_out_days))
                self.out[product.code].append((at, back))
                at = back

    def restock(self, product: str, at: datetime) -> datetime | None:
        """Return the time of the restock for an order of `product` placed at `at`, or None if it is in stock."""
        return next((back for gone, back in self.out.get(product, ()) if gone <= at < back), None)
