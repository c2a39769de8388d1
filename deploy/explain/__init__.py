"""One customer for people: who it is, what happened, and why each score is what it is."""
