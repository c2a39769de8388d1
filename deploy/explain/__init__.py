"""One customer for `touchline explain`: identity, timeline, journeys, and scores with the touchpoints that moved them."""
