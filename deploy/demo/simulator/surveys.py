"""Surveys: offered to a share of the customers, and answered by a share of these, more often at extreme satisfaction.

Each survey has one question of a declared type: NPS 0 to 10, CSAT 1 to 5, CES 2.0 1 to 7.
"""

from datetime import datetime
from typing import NamedTuple

from deploy.demo.simulator import texts
from deploy.demo.simulator.timeline import Timeline


class Survey(NamedTuple):
    """One survey: its question, scale, journey stage, and the standard deviation of answers."""

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


def offer_survey(
    timeline: Timeline,
    at: datetime,
    survey: Survey,
    *,
    tilt: float = 0.0,
    order: str | None = None,
    ticket: str | None = None,
) -> None:
    """Offer the survey at `at` to some customers; some of them answer. `tilt` shifts the answer in points of satisfaction."""
    if not timeline.chance(timeline.parameters.survey_offered):
        return
    facts = {
        "survey": survey.survey,
        "question": survey.question,
        "stage": survey.stage,
        "order": order,
        "ticket": ticket,
    }
    response = timeline.number(700_000_000)
    delivery = timeline.rng.choices(("email", "sms", "app"), (60, 22, 18))[0]
    timeline.add(at, "survey.offered", response=response, delivery=delivery, **facts)
    feeling = min(100.0, max(0.0, timeline.satisfaction.level(at) + tilt))
    if not timeline.chance(timeline.parameters.survey_answered * (1 + abs(feeling - 60) / 30)):
        return
    answered = timeline.after(at, 0.02, 4)
    exact = survey.low + (survey.high - survey.low) * (feeling + 8) / 100 + timeline.rng.gauss(0, survey.noise)
    answer = min(survey.high, max(survey.low, round(exact)))
    comment = texts.comment(timeline.rng, feeling) if timeline.chance(0.4) else None
    timeline.add(answered, "survey.answered", response=response, delivery=delivery, answer=answer, text=comment, **facts)
