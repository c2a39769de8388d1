"""Whole line: from publishing to rows in the views, on real Kafka and ClickHouse."""
