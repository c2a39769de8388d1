"""Orders, deliveries and installations, with stock-outs, delays and late technicians."""

from datetime import datetime, timedelta
from typing import NamedTuple

from deploy.demo.simulator.supply import Product
from deploy.demo.simulator.timeline import Timeline

PROMISED_DAYS = 5


class Order(NamedTuple):
    """One order of one device."""

    number: str
    product: Product
    placed: datetime


def place_order(timeline: Timeline, at: datetime, product: Product, quantity: int, channel: str) -> Order:
    """Order `quantity` of `product`."""
    order = Order(timeline.number(4_500_000_000), product, at)
    timeline.add(
        at,
        "order.placed",
        order=order.number,
        product=product.code,
        quantity=quantity,
        amount=product.price * quantity,
        channel=channel,
    )
    return order


def deliver(timeline: Timeline, order: Order) -> datetime | None:
    """Deliver the order. Returns the time of arrival, or None if the customer cancelled while waiting for a restock."""
    parameters, promised = timeline.parameters, order.placed + timedelta(days=PROMISED_DAYS)
    restock = timeline.supply.restock(order.product.code, order.placed)
    if restock is None:
        shipped = timeline.after(order.placed, 0.5, 2)
    else:
        shipped = timeline.after(restock, 0.5, 1.5)
        days = max(0, (shipped - promised).days + 2)
        noticed = timeline.after(order.placed, 0.1, 0.3)
        _move(timeline, noticed, "stock.out", order)
        timeline.satisfaction.add_shock(noticed, parameters.shock_stock_out)
        _move(timeline, timeline.after(noticed, 0.5, 1), "shipment.delayed", order, promised=promised, delay_days=float(days))
        timeline.satisfaction.add_shock(restock, parameters.shock_delay_day * days)
        if days > 12 and timeline.chance(0.2):
            gone = order.placed + (restock - order.placed) * timeline.rng.uniform(0.4, 0.9)
            timeline.add(
                gone,
                "order.cancelled",
                order=order.number,
                product=order.product.code,
                quantity=1,
                amount=order.product.price,
                channel="phone",
            )
            return None
        _move(timeline, restock, "stock.restocked", order)
    _move(timeline, shipped, "shipment.sent", order, promised=promised)
    arrived = timeline.after(shipped, 1, 2.5)
    if timeline.chance(0.06):
        late = timeline.rng.randint(2, 6)
        arrived += timedelta(days=late)
        _move(timeline, timeline.after(shipped, 0.5, 0.9), "shipment.delayed", order, promised=promised, delay_days=float(late))
        timeline.satisfaction.add_shock(arrived, parameters.shock_delay_day * late)
    _move(
        timeline,
        arrived,
        "delivery.completed",
        order,
        promised=promised,
        actual=arrived,
        delay_days=float((arrived - promised).days),
    )
    return arrived


def install(timeline: Timeline, order: Order, delivered: datetime) -> datetime:
    """Install the device. Returns the time when the technician finished."""
    promised = timeline.after(delivered, 2, 7)
    _move(timeline, timeline.after(delivered, 0.05, 0.4), "installation.scheduled", order, promised=promised)
    finished = promised + timedelta(hours=timeline.rng.uniform(1, 3))
    if timeline.chance(timeline.parameters.installation_late):
        days = timeline.rng.randint(2, 12)
        finished += timedelta(days=days)
        _move(timeline, promised + timedelta(hours=5), "installation.late", order, promised=promised, delay_days=float(days))
        parameters = timeline.parameters
        timeline.satisfaction.add_shock(promised, parameters.shock_installation_late + parameters.shock_delay_day * days)
    delay = float((finished - promised).days)
    _move(timeline, finished, "installation.completed", order, promised=promised, actual=finished, delay_days=delay)
    return finished


def _move(timeline: Timeline, at: datetime, kind: str, order: Order, **facts: datetime | float) -> None:
    timeline.add(at, kind, order=order.number, product=order.product.code, quantity=1, **facts)
