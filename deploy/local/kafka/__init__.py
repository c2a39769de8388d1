"""Apache Kafka 4.3.1, one KRaft node."""
