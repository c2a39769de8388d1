"""How Touchline is run: the command line, the local stack, the demo, monitoring."""
