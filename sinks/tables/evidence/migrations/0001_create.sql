CREATE TABLE IF NOT EXISTS touchline_store.evidence
(
    evidence_id FixedString(16) COMMENT 'digest of the identifiers and of verified, UUID bytes',
    identifier_ids Array(FixedString(16)) COMMENT 'identifiers that one touchpoint named together, UUID bytes',
    kinds Array(LowCardinality(String)) COMMENT 'kind of each identifier of identifier_ids',
    rule LowCardinality(String) COMMENT 'rule that links the identifiers',
    confidence Float64 COMMENT 'confidence of the rule, 0 to 1',
    verified UInt8 COMMENT '0: the source of the touchpoint is not authenticated',
    event_id FixedString(16) COMMENT 'first touchpoint that named the identifiers together, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of an evidence_id counts' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY evidence_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Sets of identifiers that were named together, from touchline.identity; kept for ever';
