"""Decisions of people on the identity map: lookup of identifiers, plans, and requests to the sequencer."""
