"""The journey definition and the journeys that follow from a customer's touchpoints."""
