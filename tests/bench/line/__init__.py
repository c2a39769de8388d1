"""The whole line: from publishing to rows through the views, on real Kafka and ClickHouse."""
