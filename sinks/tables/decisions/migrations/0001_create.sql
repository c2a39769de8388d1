CREATE TABLE IF NOT EXISTS touchline_store.decisions
(
    decision_id FixedString(16) COMMENT 'the decision, UUID bytes',
    action LowCardinality(String) COMMENT 'kind of decision: split, join, undo, erase, review',
    left_ids Array(FixedString(16)) COMMENT 'identifiers on the first side, or the erased ones, UUID bytes',
    right_ids Array(FixedString(16)) COMMENT 'identifiers on the second side, UUID bytes',
    undoes Nullable(FixedString(16)) COMMENT 'the decision that an undo takes back, UUID bytes; NULL otherwise',
    reason String COMMENT 'reason by the person who decided; personal data' CODEC(ZSTD),
    who String COMMENT 'the person who decided',
    confidence Float64 COMMENT 'confidence of the decision, 0 to 1',
    at DateTime64(3, 'UTC') COMMENT 'time of the decision, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of a decision_id counts' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY decision_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Decisions of people on the identity map, from touchline.identity; kept for ever';
