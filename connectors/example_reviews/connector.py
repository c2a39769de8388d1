"""Reviews of a fictitious review service, read by the time of their last change.

Guarantee: at least once, exact by event id. Deletes: a deleted review stays listed with its mark.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Window
from connectors.example_reviews.settings import ReviewsSettings
from connectors.http.client import Client
from connectors.http.http_connector import HttpConnector
from connectors.http.keyset import paginate
from connectors.settings import secret_variable


class Connector(HttpConnector):
    """One account. Cursor: {at, key, done}, as `connectors/http/keyset.py` keeps it."""

    settings_model: ClassVar[type[BaseModel]] = ReviewsSettings

    def __init__(self, settings: ReviewsSettings) -> None:
        fix = f"set {secret_variable(settings.name, 'secret')} to the account's API secret"
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings

    def login(self, client: Client) -> dict[str, str]:
        """A token of the service, which lasts for some minutes."""
        found = client.post("/v1/token", {"secret": self.settings.secret.get_secret_value()}, signed=False)
        return {"Authorization": f"Bearer {found.json()['token']}"}

    def check(self) -> str:
        """How many reviews there are. Raises ConfigError with what to change."""
        return f"{self.count('reviews', UNBOUNDED)} reviews at {self.settings.url}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The reviews changed since, oldest first."""
        return paginate(self._page, self.mappings[stream], self.client.now, self.settings.page, cursor, window)

    def count(self, stream: str, window: Window) -> int:
        """The service's own count."""
        query = {"changed_from": _text(window.start), "changed_before": _text(window.end)}
        return int(self.client.get("/v1/reviews/count", query).json()["count"])

    def _page(self, at: datetime | None, key: str) -> list[dict[str, Any]]:
        query = {"changed_from": _text(at), "after": key, "limit": self.settings.page}
        found: list[dict[str, Any]] = self.client.get("/v1/reviews", query).json()["reviews"]
        return found


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
