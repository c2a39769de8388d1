"""Change topics that Debezium writes: inserts, updates and deletes of a database's rows."""
