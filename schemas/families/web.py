"""Web and app behaviour."""

from typing import Literal

from schemas.fields import Word
from schemas.touchpoint import Touchpoint


class Web(Touchpoint):
    """Usual types: page.viewed, form.submitted, cart.abandoned, search.made."""

    source: Literal["web"] = "web"
    session_id: Word | None = None
    url: Word | None = None
    product: Word | None = None
