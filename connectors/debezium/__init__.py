"""Change topics of Debezium: inserts, updates and deletes of a database's rows."""
