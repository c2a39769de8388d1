"""The load that locust sends: single events with unique ids, by independent users."""

import itertools
import time
from uuid import uuid4

from locust import FastHttpUser, poisson, task

RUN, NUMBERS = uuid4().hex, itertools.count()
AUTHORIZATION = {"Authorization": "Basic d3JpdGUta2V5Og=="}


class Sender(FastHttpUser):  # type: ignore[misc]
    """Send one event per second, at random moments; a slow answer delays only one user."""

    wait_time = poisson(1)

    def on_start(self) -> None:
        """Start at a random moment."""
        self.wait()

    @task  # type: ignore[untyped-decorator]
    def track(self) -> None:
        number = next(NUMBERS)
        event = {
            "type": "track",
            "event": "Product Viewed",
            "userId": f"u{number % 5000}",
            "messageId": f"{RUN}-{number}",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "properties": {"sku": f"p{number % 100}", "price": 12.5},
        }
        self.client.post("/v1/track", json=event, headers=AUTHORIZATION)
