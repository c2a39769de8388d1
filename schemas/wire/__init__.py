"""The bytes on Kafka: Avro schemas, codec, registry and the table of topics."""
