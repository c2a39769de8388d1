CREATE TABLE IF NOT EXISTS touchline_store.identities
(
    kind LowCardinality(String) COMMENT 'kind of identifier: email, phone, crm_contact, ...',
    value String COMMENT 'the identifier in its one spelling; personal data' CODEC(ZSTD),
    customer_id FixedString(16) COMMENT 'the customer it belonged to when the edge was made, UUID bytes',
    rule LowCardinality(String) COMMENT 'rule that made the edge',
    event_id FixedString(16) COMMENT 'touchpoint that brought the edge, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of an identifier is the true row' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY (kind, value)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Which customer an identifier belongs to, from touchline.identity; kept for ever';
