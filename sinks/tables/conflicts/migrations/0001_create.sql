CREATE TABLE IF NOT EXISTS touchline_store.conflicts
(
    conflict_id FixedString(16) COMMENT 'the conflict, UUID bytes',
    reason LowCardinality(String) COMMENT 'reason: shared_value, limit, unverified, anonymous, split, group_full',
    identifier_id FixedString(16) COMMENT 'the first identifier, UUID bytes',
    kind LowCardinality(String) COMMENT 'kind of the first identifier',
    value String COMMENT 'the first identifier, normalised; personal data' CODEC(ZSTD),
    other_id FixedString(16) COMMENT 'the second identifier, UUID bytes',
    other_kind LowCardinality(String) COMMENT 'kind of the second identifier',
    other_value String COMMENT 'the second identifier, normalised; personal data' CODEC(ZSTD),
    customer_id FixedString(16) COMMENT 'owner of the first identifier at that time, UUID bytes',
    other_customer FixedString(16) COMMENT 'owner of the second identifier at that time, UUID bytes',
    event_id FixedString(16) COMMENT 'touchpoint that named both, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of a conflict_id counts' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY conflict_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Identifiers that were named together and not linked, from touchline.identity; kept for ever';
