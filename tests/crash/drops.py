"""The input of a run: files of orders and tickets for a real connector, and poison in the files and on the topics."""

import asyncio
import json
import random
from pathlib import Path

import yaml
from aiokafka.errors import KafkaError

from schemas.service.connection import KafkaSettings
from schemas.wire.codec import encode
from schemas.wire.topics import IDENTITY_REQUESTS, JOURNEYS, RESOLVED, SATISFACTION, TOPICS, source_topic
from sinks import kafka
from tests.crash.families import touchpoints_of

NAME = "crash"
LINES = 90
REPEATED_LINES = 4
LINES_PER_CUSTOMER = 12
SKEW = 1.5
SEND_SECONDS = 3.0
FIRST_DAY = 1_760_000_000_000
DAYS = 200
POISONED = (source_topic("erp"), source_topic("support"), RESOLVED, IDENTITY_REQUESTS, JOURNEYS, SATISFACTION)
RECORD = encode("tick", {"at": FIRST_DAY, "since": None})
STATES = {"placed": "order.placed", "paid": "payment.received", "failed": "payment.failed", "cancelled": "order.cancelled"}
EVENTS = {"opened": "ticket.opened", "solved": "ticket.resolved", "again": "ticket.reopened", "quit": "contract.cancelled"}
COLUMNS = ["number", "state", "at", "mail", "party", "total", "phone", "device"]
FEEDS = {
    "orders": {
        "files": "orders-*.csv",
        "format": "csv",
        "source": "erp",
        "system": "shop",
        "columns": COLUMNS,
        "key": "number",
        "version": "state",
        "map": {
            "type": f"lookup(state, `{json.dumps(STATES)}`)",
            "channel": "'web'",
            "occurred_at": "epoch_ms(at)",
            "identifiers": {"email": "email(mail)", "erp_party": "id(party)", "phone": "phone", "device": "id(device)"},
            "amount": "number(total)",
            "currency": "'EUR'",
            "order_id": "id(number)",
        },
    },
    "tickets": {
        "files": "tickets-*.jsonl",
        "format": "jsonl",
        "source": "support",
        "system": "desk",
        "columns": ["number", "event", "at", "mail", "phone", "body"],
        "key": "number",
        "version": "event",
        "map": {
            "type": f"lookup(event, `{json.dumps(EVENTS)}`)",
            "channel": "'email'",
            "occurred_at": "epoch_ms(at)",
            "identifiers": {"email": "email(mail)", "phone": "phone"},
            "ticket_id": "number",
            "text": "body",
            "attributes": {"region": "'north'"},
        },
    },
}


class Drops:
    """A folder of drops and the settings of the connector that reads it. The same seed gives the same files.

    `families` is the number of families in the files (`families.py`).
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder / "drops"
        self.folder.mkdir()
        self.settings = folder / "settings.yaml"
        self.settings.write_text(yaml.safe_dump({"name": NAME, "root": "drops", "poll_seconds": 0.2, "feeds": FEEDS}))
        self.lines = self.files = self.families = 0
        self._chance = random.Random(seed)
        self._written: dict[str, list[str]] = {"csv": [], "jsonl": []}

    def drop(self) -> None:
        """Add a file by renaming: new lines, some of them twice, some lines of an earlier file, and poison."""
        self.files += 1
        kind, make = (("jsonl", self._ticket), ("csv", self._order))[self.files % 2]
        fresh = [make() for _ in range(LINES)]
        if kind == "csv":
            fresh += [self._write_order(*names) for names in touchpoints_of(self.families)]
            self.families += 1
        lines = [*fresh, *self._sample(fresh), *self._sample(self._written[kind]), *self._poison(kind)]
        self._chance.shuffle(lines)
        self._written[kind] = fresh
        head = [",".join(COLUMNS)] if kind == "csv" else []
        name = f"{'orders' if head else 'tickets'}-{self.files:05}.{kind}"
        hidden = self.folder / f".{name}"
        hidden.write_text("\n".join([*head, *lines]) + "\n")
        hidden.rename(self.folder / name)

    def _sample(self, lines: list[str]) -> list[str]:
        return self._chance.sample(lines, k=min(REPEATED_LINES, len(lines)))

    def _poison(self, kind: str) -> list[str]:
        """Return different lines that the connector must reject."""
        number = f"bad-{self.files}"
        if kind == "csv":
            return [f"{number},placed,1,,,much,,", f"{number},,,,,,,"]
        return [f'{{"number": "{number}", ', f'["{number}"]']

    def _choose_time(self) -> int:
        return FIRST_DAY + self._chance.randrange(DAYS * 86_400_000)

    def _choose_customer(self) -> tuple[str, str, str]:
        """Return e-mail, party and phone of a random customer; the first customers get long histories."""
        customer = int((20 + self.lines // LINES_PER_CUSTOMER) * self._chance.random() ** SKEW)
        return f"c{customer}@example.org", f"p{customer}", f"+49301{customer:06}"

    def _choose_identifiers(self, first: str, second: str) -> tuple[str, str]:
        return self._chance.choice([(first, ""), ("", second), (first, second)])

    def _order(self) -> str:
        mail, party, _ = self._choose_customer()
        return self._write_order(*self._choose_identifiers(mail, party))

    def _write_order(self, mail: str, party: str, phone: str = "", device: str = "") -> str:
        self.lines += 1
        state = self._chance.choice(list(STATES))
        total = f"{self.lines % 500}.25"
        return ",".join((f"o{self.lines}", state, str(self._choose_time()), mail, party, total, phone, device))

    def _ticket(self) -> str:
        self.lines += 1
        mail, _, phone = self._choose_customer()
        mail, phone = self._choose_identifiers(mail, phone)
        event = self._chance.choices(list(EVENTS), weights=(30, 30, 30, 5))[0]
        ticket = {
            "number": f"t{self.lines}",
            "event": event,
            "at": self._choose_time(),
            "mail": mail,
            "phone": phone,
            "body": "hello",
        }
        return json.dumps(ticket)


class Poison:
    """Invalid records sent to topics inside the line. Kafka has acknowledged those in `acknowledged`."""

    def __init__(self, seed: int) -> None:
        self.acknowledged: list[bytes] = []
        self._chance = random.Random(seed)
        self._made = 0

    async def send(self) -> None:
        """Send one invalid record to a random topic; give up if Kafka does not answer."""
        name = self._chance.choice(POISONED)
        partitions = next(topic.partitions for topic in TOPICS if topic.name == name)
        self._made += 1
        value = self._chance.choice((b"poison", RECORD)) + b"-%d" % self._made
        producer = kafka.make_producer(KafkaSettings())
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.start()
                await producer.send_and_wait(name, value, partition=self._chance.randrange(partitions))
            self.acknowledged.append(value)
        except (KafkaError, TimeoutError):
            return
        finally:
            await kafka.close_within(producer.stop(), SEND_SECONDS)
