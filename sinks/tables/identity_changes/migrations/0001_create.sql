CREATE TABLE IF NOT EXISTS touchline_store.identity_changes
(
    from_customer FixedString(16) COMMENT 'the customer that went up in another, UUID bytes',
    to_customer FixedString(16) COMMENT 'the customer that it became part of, UUID bytes',
    rule LowCardinality(String) COMMENT 'rule that found them to be one',
    event_id FixedString(16) COMMENT 'touchpoint that brought the change, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the first one of a customer is its merge, later ones follow the other' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY (from_customer, to_customer)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every customer that each customer was ever part of, from touchline.identity; kept for ever';
