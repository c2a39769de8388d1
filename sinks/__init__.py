"""Kafka to ClickHouse: insert, then commit."""
