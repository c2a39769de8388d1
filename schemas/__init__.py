"""What connectors, streams and sinks agree on: touchpoints, topics, wire format, dead letters, errors and metrics."""
