"""Social media and reviews: public posts of customers."""

from typing import Literal

from schemas.records.fields import Word
from schemas.records.touchpoint import Touchpoint


class Social(Touchpoint):
    """Usual types: post.published, post.replied, review.published, referral.made."""

    source: Literal["social"] = "social"
    post_id: Word | None = None
    product: Word | None = None
    rating: float | None = None
