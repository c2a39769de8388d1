"""Records as Debezium writes them, and what they must become."""
