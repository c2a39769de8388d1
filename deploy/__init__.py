"""Operation of Touchline: command line, local stack, demo, alerts, dead letters and explain."""
