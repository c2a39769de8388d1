"""Texts of simulated people, some of them beyond a sentiment lexicon ("on hold for 45 minutes")."""

from random import Random

ISSUES = {
    "fault": (
        "The connection drops every evening and video calls break off.",
        "No internet since this morning, the router blinks red.",
        "Speed is a tenth of what I pay for.",
    ),
    "billing": (
        "The invoice shows a modem fee that is not in my contract.",
        "I was charged twice this month. Please refund the second payment.",
        "Refund still not received after 3 weeks.",
    ),
    "delivery": (
        "Where is my router? It should have arrived last week.",
        "You told me the router is out of stock again. When does it ship?",
    ),
    "installation": (
        "The technician did not show up and I took a day off for it.",
        "Installation was moved for the second time.",
    ),
    "question": (
        "How do I change the name of my wifi?",
        "Can I move my contract to a new flat?",
        "How do I close my account?",
        "Does the repeater work with the older router?",
    ),
}
DISPLEASED = (
    "This is really frustrating.",
    "On hold for 45 minutes.",
    "I have contacted you three times about this already.",
    "If this is not solved I want to switch to a competitor.",
)
REPLIES = (
    "We reset the line from our side, please restart the router.",
    "Thank you for your patience, this is now corrected.",
    "A colleague will call you today.",
)
REOPENINGS = (
    "It is happening again, same as before.",
    "Not solved. I have explained this twice now.",
    "Still broken after your fix.",
)
GOOD = (
    "Great service, very friendly technician.",
    "Fast, reliable, easy. I am happy.",
    "Everything works perfectly, thank you!",
)
NEUTRAL = ("It works, mostly.", "Fine so far.", "The price could be better, but ok.")
BAD = (
    "Terrible support, nobody knows anything.",
    "I waited for weeks.",
    'They said "tomorrow", twice.\nNobody came.',
    "Always the same problem. Very disappointed.",
    "Please cancel my account.",
)
COMPLAINTS = (
    "third outage this month, seriously disappointed by my provider",
    "on hold for 45 minutes and then cut off. awful service",
    "router out of stock for weeks, order still open",
)
PRAISES = ("new fibre line is amazing, finally fast & stable", "great support today, solved in ten minutes. thank you!")
REFERRALS = ("happy to recommend my provider, use my code for a free month",)


def issue(rng: Random, kind: str, *, is_displeased: bool) -> str:
    """Return the first message of a ticket, with a complaint if the customer is displeased."""
    text = rng.choice(ISSUES[kind])
    return f"{text}\n{rng.choice(DISPLEASED)}" if is_displeased else text


def reply(rng: Random) -> str:
    """Return an agent's answer."""
    return rng.choice(REPLIES)


def reopening(rng: Random) -> str:
    """Return the message that reopens a ticket."""
    return rng.choice(REOPENINGS)


def comment(rng: Random, feeling: float) -> str:
    """Return a survey comment for this satisfaction, 0 to 100."""
    return rng.choice(GOOD if feeling > 70 else NEUTRAL if feeling > 50 else BAD)


def complaint(rng: Random) -> str:
    """Return a public complaint."""
    return rng.choice(COMPLAINTS)


def praise(rng: Random) -> str:
    """Return public praise."""
    return rng.choice(PRAISES)


def referral(rng: Random) -> str:
    """Return a public recommendation."""
    return rng.choice(REFERRALS)
