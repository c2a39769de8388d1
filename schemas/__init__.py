"""Contracts that connectors, streams and sinks share: records, topics, wire format, connection settings, errors and metrics."""
