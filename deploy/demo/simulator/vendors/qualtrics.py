"""The survey tool: distributions (offered) and responses (answered), one question each, with Qualtrics' column names."""

from random import Random

from deploy.demo.simulator.timeline import Event
from deploy.demo.simulator.vendors.record import Feed, Known, Record
from deploy.demo.simulator.vendors.spelling import vary_email

CUSTOMER_COLUMNS = ("RecipientEmail", "ExternalReference", "DistributionChannel", "Stage", "TicketId", "OrderId")
FEEDS = {
    "distributions": Feed(
        "feedback", "feedback/distributions", "csv", ("DistributionId", "SurveyId", *CUSTOMER_COLUMNS, "SentDate", "Status")
    ),
    "responses": Feed(
        "feedback",
        "feedback/responses",
        "csv",
        (
            "ResponseId",
            "SurveyId",
            *CUSTOMER_COLUMNS,
            "RecordedDate",
            "Status",
            "Finished",
            "UserLanguage",
            "Q_NPS",
            "Q_CSAT",
            "Q_CES",
            "Q_Comment",
        ),
    ),
}
TYPES = ("survey.offered", "survey.answered")


def render(event: Event, _: int, rng: Random) -> Record:
    """Return the distribution or response. It holds the recipient's e-mail address, CRM contact, or both."""
    facts = event.facts
    customer, known = _customer(event, rng)
    when = event.at.strftime("%Y-%m-%d %H:%M:%S")
    about = {
        "SurveyId": facts["survey"],
        "DistributionChannel": facts["delivery"],
        "Stage": facts["stage"],
        "TicketId": facts["ticket"],
        "OrderId": facts["order"],
    }
    if event.type == "survey.offered":
        values = {"DistributionId": f"EMD_{facts['response']}", **customer, **about, "SentDate": when, "Status": "Sent"}
        return Record("distributions", event.at, event, values, known)
    answer = {
        str(facts["question"]): facts["answer"],
        "Q_Comment": facts["text"],
        "Finished": "True",
        "UserLanguage": "EN",
    }
    values = {
        "ResponseId": f"R_{facts['response']}",
        **customer,
        **about,
        "RecordedDate": when,
        "Status": "IP Address",
        **answer,
    }
    return Record("responses", event.at, event, values, known)


def _customer(event: Event, rng: Random) -> tuple[dict[str, str | None], Known]:
    person = event.person
    by = rng.choices(("email", "contact", "both"), (55, 30, 15))[0]
    customer = {
        "RecipientEmail": None if by == "contact" else vary_email(person.email, rng),
        "ExternalReference": None if by == "email" else person.contact,
    }
    known = (("email", person.email), ("crm_contact", person.contact))
    return customer, known[:1] if by == "email" else known[1:] if by == "contact" else known
