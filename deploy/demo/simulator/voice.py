"""What customers say in public: praise, complaint, referral."""

from datetime import datetime

from deploy.demo.simulator import words
from deploy.demo.simulator.story import Story


def speak(story: Story, at: datetime) -> None:
    """Perhaps a post, in a week that ends at `at`, by a customer who has an account."""
    if story.who.handle is None:
        return
    level = story.mood.level(at)
    if level < 50 and story.chance(0.08):
        story.tell(at, "post.published", text=words.complaint(story.rng))
    elif level > 75 and story.chance(0.03):
        story.tell(at, "post.published", text=words.praise(story.rng))
    elif level > 78 and story.chance(0.015):
        story.tell(at, "referral.made", text=words.referral(story.rng))
