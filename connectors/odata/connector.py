"""Connector that reads entity sets of an OData service by the time of their last change.

Guarantee: at least once; repeated reads have the same event id. Deletes: only rows with a mark that the mapping names.
"""

from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import urljoin

from pydantic import BaseModel

from connectors.contract import UNBOUNDED, Batch, Cursor, Window
from connectors.http.client import Client, Headers
from connectors.http.http_connector import HttpConnector
from connectors.http.keyset import paginate
from connectors.mapping.record_mapping import RecordMapping
from connectors.odata.dialects import DIALECTS
from connectors.odata.reader import Reader
from connectors.odata.settings import ODataSettings
from connectors.settings import secret_variable

FIX = "set {} to the password or client secret of `username`, and give that user access to the service"


class Connector(HttpConnector):
    """One account. Cursor: {at, key, done}, see `connectors/http/keyset.py`."""

    settings_model: ClassVar[type[BaseModel]] = ODataSettings

    def __init__(self, settings: ODataSettings) -> None:
        fix = FIX.format(secret_variable(settings.name, "password"))
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings
        address = urljoin(settings.url, settings.token_url or "")
        basic = partial(_sign_basic, settings)
        self._tokens = Client(address, self.rate_limit, timeout=settings.timeout_seconds, credentials_hint=fix, login=basic)
        entities = settings.list_entity_sets()
        own = {name: RecordMapping(settings.name, name, given.mapping) for name, given in entities.items() if given.mapping}
        self.mappings = {name: own.get(name) or self.mappings[name] for name in entities}
        self._readers = {
            name: Reader(self.client, DIALECTS[settings.odata], given, self.mappings[name].mapping.columns, settings.client)
            for name, given in entities.items()
        }

    def login(self, client: Client) -> Headers:
        """Return the headers of the user, or of a new OAuth 2.0 token, which is valid for some minutes."""
        if self.settings.token_url is None:
            return _sign_basic(self.settings, client)
        answer = self._tokens.post_form("", {"grant_type": "client_credentials"}).json()
        return {"Authorization": f"Bearer {answer['access_token']}"}

    def check(self) -> str:
        """Return the number of rows of each stream. Raises ConfigError with the setting to change."""
        for reader in self._readers.values():
            reader.fetch_page(1, None, "")
        counts = [f"{self.count(name, UNBOUNDED):,} {name}" for name in self.mappings]
        return f"{', '.join(counts)} at {self.settings.url}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """Yield the rows changed after the cursor, oldest first."""
        size = self.settings.page
        return paginate(
            partial(self._readers[stream].fetch_page, size), self.mappings[stream], self.client.now, size, cursor, window
        )

    def count(self, stream: str, window: Window) -> int:
        """Return the server's own count."""
        return self._readers[stream].count(window)

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._tokens.close()


def _sign_basic(settings: ODataSettings, _: Client) -> dict[str, str]:
    given = f"{settings.username}:{settings.password.get_secret_value()}"
    return {"Authorization": f"Basic {b64encode(given.encode()).decode()}"}
