CREATE TABLE IF NOT EXISTS touchline_store.routes
(
    customer_id FixedString(16) COMMENT 'a customer id that touchpoints were resolved to, UUID bytes',
    current FixedString(16) COMMENT 'the customer that owns these touchpoints now, UUID bytes',
    shared Array(FixedString(16)) COMMENT 'identifiers that do not decide the owner, UUID bytes',
    exception_ids Array(FixedString(16)) COMMENT 'identifiers whose owner is not current, UUID bytes',
    exception_customers Array(FixedString(16)) COMMENT 'owner of each identifier of exception_ids, UUID bytes',
    rule LowCardinality(String) COMMENT 'rule that changed the route',
    event_id FixedString(16) COMMENT 'touchpoint or decision that changed the route, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint or decision, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of a customer_id counts' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY customer_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Current owners of the touchpoints of each former customer id, from touchline.identity; kept for ever';
