"""Dead letters for `touchline dead-letters`: list them, show one, replay their records."""
