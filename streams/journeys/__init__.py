"""Journeys: their definition, and the fold that builds them from a customer's touchpoints."""
