"""Web and app: visits, forms, carts and searches."""

from typing import Literal

from schemas.records.fields import Word
from schemas.records.touchpoint import Touchpoint


class Web(Touchpoint):
    """Usual types: page.viewed, form.submitted, cart.abandoned, search.made."""

    source: Literal["web"] = "web"
    session_id: Word | None = None
    url: Word | None = None
    product: Word | None = None
