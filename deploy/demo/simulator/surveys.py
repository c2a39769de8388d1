"""Surveys: offered to a share of the customers, answered by a share of those, more readily by the far from average.

Each questionnaire has one question of a declared type: NPS 0 to 10, CSAT 1 to 5, CES 2.0 1 to 7.
"""

from datetime import datetime
from typing import NamedTuple

from deploy.demo.simulator import words
from deploy.demo.simulator.story import Story


class Survey(NamedTuple):
    """One questionnaire: its question, scale, the journey stage it asks about, and how noisy answers are."""

    survey: str
    question: str
    low: int
    high: int
    stage: str
    noise: float


RELATIONSHIP = Survey("SV_relationship", "Q_NPS", 0, 10, "use", 1.1)
INSTALLATION = Survey("SV_installation", "Q_CSAT", 1, 5, "onboarding", 0.6)
TICKET_CSAT = Survey("SV_ticket_csat", "Q_CSAT", 1, 5, "support", 0.6)
TICKET_CES = Survey("SV_ticket_ces", "Q_CES", 1, 7, "support", 0.9)


def offer(
    story: Story,
    at: datetime,
    survey: Survey,
    *,
    tilt: float = 0.0,
    order: str | None = None,
    ticket: str | None = None,
) -> None:
    """Perhaps the survey is sent at `at`, and perhaps answered; `tilt` moves the answer, in points of satisfaction."""
    if not story.chance(story.parameters.survey_offered):
        return
    facts = {
        "survey": survey.survey,
        "question": survey.question,
        "stage": survey.stage,
        "order": order,
        "ticket": ticket,
    }
    response = story.number(700_000_000)
    delivery = story.rng.choices(("email", "sms", "app"), (60, 22, 18))[0]
    story.tell(at, "survey.offered", response=response, delivery=delivery, **facts)
    feeling = min(100.0, max(0.0, story.mood.level(at) + tilt))
    if not story.chance(story.parameters.survey_answered * (1 + abs(feeling - 60) / 30)):
        return
    answered = story.after(at, 0.02, 4)
    exact = survey.low + (survey.high - survey.low) * (feeling + 8) / 100 + story.rng.gauss(0, survey.noise)
    answer = min(survey.high, max(survey.low, round(exact)))
    comment = words.comment(story.rng, feeling) if story.chance(0.4) else None
    story.tell(answered, "survey.answered", response=response, delivery=delivery, answer=answer, text=comment, **facts)
