"""Feedback: survey questions, offered and answered. The source declares the metric; it is never guessed from the answer."""

from typing import Literal, Self

from pydantic import model_validator

from schemas.records.fields import Word
from schemas.records.touchpoint import Touchpoint


class Feedback(Touchpoint):
    """Usual types: survey.offered (without an answer) and survey.answered. `answer` must be on the declared scale."""

    source: Literal["feedback"] = "feedback"
    survey_id: Word
    question_id: Word
    metric: Literal["nps", "csat", "ces"]
    scale_low: int
    scale_high: int
    answer: float | None = None
    order_id: Word | None = None
    ticket_id: Word | None = None

    @model_validator(mode="after")
    def _answer_on_scale(self) -> Self:
        if self.answer is not None and not self.scale_low <= self.answer <= self.scale_high:
            raise ValueError("answer lies outside the declared scale")
        return self
