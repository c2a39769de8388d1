"""Entity sets of an OData service, read by the time of their last change.

Guarantee: at least once, exact by event id. Deletes: only where the mapping names a mark; OData itself does not tell.
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

FIX = "set {} to what belongs to `username`, and give that user the service"


class Connector(HttpConnector):
    """One account. Cursor: {at, key, done}, as `connectors/http/keyset.py` keeps it."""

    settings_model: ClassVar[type[BaseModel]] = ODataSettings

    def __init__(self, settings: ODataSettings) -> None:
        fix = FIX.format(secret_variable(settings.name, "password"))
        super().__init__(settings, Path(__file__).with_name("mapping.yaml"), credentials_hint=fix)
        self.settings = settings
        address = urljoin(settings.url, settings.token_url or "")
        basic = partial(_basic, settings)
        self._tokens = Client(address, self.rate_limit, timeout=settings.timeout_seconds, credentials_hint=fix, login=basic)
        entities = settings.entity_sets()
        own = {name: RecordMapping(settings.name, name, given.mapping) for name, given in entities.items() if given.mapping}
        self.mappings = {name: own.get(name) or self.mappings[name] for name in entities}
        self._readers = {
            name: Reader(self.client, DIALECTS[settings.odata], given, self.mappings[name].mapping.columns, settings.client)
            for name, given in entities.items()
        }

    def login(self, client: Client) -> Headers:
        """The user, or a token for the OAuth 2.0 client, which lasts for some minutes."""
        if self.settings.token_url is None:
            return _basic(self.settings, client)
        found = self._tokens.post_form("", {"grant_type": "client_credentials"}).json()
        return {"Authorization": f"Bearer {found['access_token']}"}

    def check(self) -> str:
        """How many rows there are. Raises ConfigError with what to change."""
        for reader in self._readers.values():
            reader.page(1, None, "")
        found = [f"{self.count(name, UNBOUNDED):,} {name}" for name in self.mappings]
        return f"{', '.join(found)} at {self.settings.url}"

    def read(self, stream: str, cursor: Cursor | None, window: Window = UNBOUNDED) -> Iterator[Batch]:
        """The rows changed since, oldest first."""
        size = self.settings.page
        return paginate(partial(self._readers[stream].page, size), self.mappings[stream], self.client.now, size, cursor, window)

    def count(self, stream: str, window: Window) -> int:
        """The server's own count."""
        return self._readers[stream].count(window)

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._tokens.close()


def _basic(settings: ODataSettings, _: Client) -> dict[str, str]:
    given = f"{settings.username}:{settings.password.get_secret_value()}"
    return {"Authorization": f"Basic {b64encode(given.encode()).decode()}"}
