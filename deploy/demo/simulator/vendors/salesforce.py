"""The CRM: history rows of opportunities and contracts, and call tasks, with the names of a Salesforce CSV export."""

from random import Random

from deploy.demo.simulator.people import Duplicate
from deploy.demo.simulator.timeline import Event, Fact
from deploy.demo.simulator.vendors.record import Feed, Known, Record, format_time_ms
from deploy.demo.simulator.vendors.spelling import vary_email, vary_phone

CUSTOMER_COLUMNS = ("ContactId", "Email", "Phone", "Mastodon_Handle__c", "Segment__c")
FEEDS = {
    "opportunities": Feed(
        "crm",
        "crm/opportunity_history",
        "csv",
        (
            "Id",
            "OpportunityId",
            *CUSTOMER_COLUMNS,
            "StageName",
            "LeadSource",
            "Product__c",
            "Amount",
            "CurrencyIsoCode",
            "SystemModstamp",
        ),
    ),
    "contracts": Feed(
        "crm",
        "crm/contract_history",
        "csv",
        (
            "Id",
            "ContractNumber",
            *CUSTOMER_COLUMNS,
            "Status",
            "Product__c",
            "Amount__c",
            "CurrencyIsoCode",
            "Description",
            "SystemModstamp",
        ),
    ),
    "calls": Feed("crm", "crm/tasks", "csv", ("Id", *CUSTOMER_COLUMNS, "TaskSubtype", "Description", "SystemModstamp")),
}
STAGES = {"inquiry.received": "Prospecting", "opportunity.won": "Closed Won"}
STATUSES = {"contract.signed": "Activated", "contract.renewed": "Renewed", "contract.cancelled": "Cancelled"}
TYPES = (*STAGES, *STATUSES, "call.logged")


def render(event: Event, number: int, rng: Random) -> Record:
    """Return the history row or task of one event."""
    facts, kind = event.facts, event.type
    customer, known = _customer(event, rng)
    stamp = {"SystemModstamp": format_time_ms(event.at)}
    if kind in STAGES:
        deal = {
            "OpportunityId": f"006Qy0000{event.person.number:06d}IAZ",
            "StageName": STAGES[kind],
            "LeadSource": facts.get("channel"),
        }
        money = {
            "Product__c": facts.get("product"),
            "Amount": _dollars(facts.get("amount")),
            "CurrencyIsoCode": "USD" if "amount" in facts else None,
        }
        return Record(
            "opportunities",
            event.at,
            event,
            {"Id": f"0Qy{number:012d}", **customer, **deal, **money, **stamp},
            known,
        )
    if kind in STATUSES:
        deal = {"ContractNumber": facts["contract"], "Status": STATUSES[kind], "Description": facts.get("text")}
        money = {"Product__c": facts.get("product"), "Amount__c": _dollars(facts["amount"]), "CurrencyIsoCode": "USD"}
        return Record("contracts", event.at, event, {"Id": f"0Ct{number:012d}", **customer, **deal, **money, **stamp}, known)
    call = {"TaskSubtype": "Call", "Description": facts["text"]}
    return Record("calls", event.at, event, {"Id": f"00T{number:012d}", **customer, **call, **stamp}, known)


def _customer(event: Event, rng: Random) -> tuple[dict[str, str | None], Known]:
    person, twice = event.person, event.facts.get("twice")
    if twice and person.duplicate is not None:
        return _make_duplicate(person.duplicate, person.email if twice == "merged" else None, person.segment)
    customer: dict[str, str | None] = {"ContactId": person.contact, "Segment__c": person.segment}
    known = [("crm_contact", person.contact)]
    if event.type in STAGES:
        customer |= {"Email": vary_email(person.email, rng), "Phone": vary_phone(person.phone, rng)}
        known += [("email", person.email), ("phone", person.phone)]
    if person.handle is not None and person.handle_in_crm:
        customer["Mastodon_Handle__c"] = person.handle
        known.append(("social_handle", person.handle))
    return customer, tuple(known)


def _make_duplicate(duplicate: Duplicate, email: str | None, segment: str) -> tuple[dict[str, str | None], Known]:
    customer = {"ContactId": duplicate.contact, "Email": email, "Phone": duplicate.phone, "Segment__c": segment}
    known: Known = (("crm_contact", duplicate.contact), ("phone", duplicate.phone))
    return customer, (*known, ("email", email)) if email else known


def _dollars(amount: Fact) -> str | None:
    return None if amount is None else f"{amount:.2f}"
