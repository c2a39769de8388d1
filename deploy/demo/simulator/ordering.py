"""From order to delivery and installation, with stock-outs, delays and late technicians."""

from datetime import datetime, timedelta
from typing import NamedTuple

from deploy.demo.simulator.story import Story
from deploy.demo.simulator.supply import Product

PROMISED_DAYS = 5


class Order(NamedTuple):
    """One order of one device."""

    number: str
    product: Product
    placed: datetime


def place(story: Story, at: datetime, product: Product, quantity: int, channel: str) -> Order:
    """The customer orders `quantity` of `product`."""
    order = Order(story.number(4_500_000_000), product, at)
    story.tell(
        at,
        "order.placed",
        order=order.number,
        product=product.code,
        quantity=quantity,
        amount=product.price * quantity,
        channel=channel,
    )
    return order


def deliver(story: Story, order: Order) -> datetime | None:
    """When the goods arrived, or None where the customer cancelled while waiting for a restock."""
    parameters, promised = story.parameters, order.placed + timedelta(days=PROMISED_DAYS)
    restock = story.supply.restock(order.product.code, order.placed)
    if restock is None:
        shipped = story.after(order.placed, 0.5, 2)
    else:
        shipped = story.after(restock, 0.5, 1.5)
        days = max(0, (shipped - promised).days + 2)
        noticed = story.after(order.placed, 0.1, 0.3)
        _move(story, noticed, "stock.out", order)
        story.mood.feel(noticed, parameters.shock_stock_out)
        _move(story, story.after(noticed, 0.5, 1), "shipment.delayed", order, promised=promised, delay_days=float(days))
        story.mood.feel(restock, parameters.shock_delay_day * days)
        if days > 12 and story.chance(0.2):
            gone = order.placed + (restock - order.placed) * story.rng.uniform(0.4, 0.9)
            story.tell(
                gone,
                "order.cancelled",
                order=order.number,
                product=order.product.code,
                quantity=1,
                amount=order.product.price,
                channel="phone",
            )
            return None
        _move(story, restock, "stock.restocked", order)
    _move(story, shipped, "shipment.sent", order, promised=promised)
    arrived = story.after(shipped, 1, 2.5)
    if story.chance(0.06):
        late = story.rng.randint(2, 6)
        arrived += timedelta(days=late)
        _move(story, story.after(shipped, 0.5, 0.9), "shipment.delayed", order, promised=promised, delay_days=float(late))
        story.mood.feel(arrived, parameters.shock_delay_day * late)
    _move(
        story,
        arrived,
        "delivery.completed",
        order,
        promised=promised,
        actual=arrived,
        delay_days=float((arrived - promised).days),
    )
    return arrived


def install(story: Story, order: Order, delivered: datetime) -> datetime:
    """When the technician had finished."""
    promised = story.after(delivered, 2, 7)
    _move(story, story.after(delivered, 0.05, 0.4), "installation.scheduled", order, promised=promised)
    finished = promised + timedelta(hours=story.rng.uniform(1, 3))
    if story.chance(story.parameters.installation_late):
        days = story.rng.randint(2, 12)
        finished += timedelta(days=days)
        _move(story, promised + timedelta(hours=5), "installation.late", order, promised=promised, delay_days=float(days))
        story.mood.feel(promised, story.parameters.shock_installation_late + story.parameters.shock_delay_day * days)
    delay = float((finished - promised).days)
    _move(story, finished, "installation.completed", order, promised=promised, actual=finished, delay_days=delay)
    return finished


def _move(story: Story, at: datetime, kind: str, order: Order, **facts: datetime | float) -> None:
    story.tell(at, kind, order=order.number, product=order.product.code, quantity=1, **facts)
