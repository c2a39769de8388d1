"""Connector that reads the reviews of a fictitious service by the time of their last change.

Guarantee: at least once; repeated reads have the same event id. Deletes: a deleted review stays in the list with a mark.
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
    """One account of the service. Cursor: {at, key, done}, see `connectors/http/keyset.py`."""

    settings_model: ClassVar[type[BaseModel]] = ReviewsSettings

    def __init__(self, settings: ReviewsSettings) -> None:
        fix = f"set {secret_variable(settings.name, 'secret')} to the account's API secret"
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings

    def login(self, client: Client) -> dict[str, str]:
        """Return the headers with a new token of the service, which is valid for some minutes."""
        answer = client.post("/v1/token", {"secret": self.settings.secret.get_secret_value()}, signed=False)
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def check(self) -> str:
        """Return the number of reviews. Raises ConfigError with the setting to change."""
        return f"{self.count('reviews', UNBOUNDED)} reviews at {self.settings.url}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the reviews changed after the cursor, oldest first."""
        return paginate(self._fetch_page, self.mappings[stream], self.client.now, self.settings.page, cursor, window)

    def count(self, stream: str, window: Window) -> int:
        """Return the service's own count."""
        query = {"changed_from": _format_time(window.start), "changed_before": _format_time(window.end)}
        return int(self.client.get("/v1/reviews/count", query).json()["count"])

    def _fetch_page(self, at: datetime | None, key: str) -> list[dict[str, Any]]:
        query = {"changed_from": _format_time(at), "after": key, "limit": self.settings.page}
        reviews: list[dict[str, Any]] = self.client.get("/v1/reviews", query).json()["reviews"]
        return reviews


def _format_time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
