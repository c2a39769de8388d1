CREATE TABLE IF NOT EXISTS touchline_store.dead_letters
(
    letter_id FixedString(16) COMMENT 'the dead letter, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'when it was refused, UTC' CODEC(Delta, ZSTD),
    stage LowCardinality(String) COMMENT 'stage that refused it',
    source LowCardinality(String) COMMENT 'event family, empty where unknown',
    connector LowCardinality(String) COMMENT 'connector that read it, empty behind the connectors',
    reason LowCardinality(String) COMMENT 'short word for why',
    detail String COMMENT 'why, in words' CODEC(ZSTD),
    origin String COMMENT 'where the record stood: file and line, or topic/partition/offset' CODEC(ZSTD),
    topic LowCardinality(Nullable(String)) COMMENT 'Kafka topic of the record, NULL where it never was on Kafka',
    partition Nullable(Int32) COMMENT 'Kafka partition of the record',
    offset Nullable(Int64) COMMENT 'Kafka offset of the record',
    schema_id Nullable(Int64) COMMENT 'schema id that the bytes name',
    payload String COMMENT 'original bytes, at most 6 MiB; personal data' CODEC(ZSTD(3)),
    size UInt64 COMMENT 'full length of the record, bytes',
    truncated UInt8 COMMENT '1 where payload is cut',
    software LowCardinality(String) COMMENT 'version of Touchline that refused it',
    record_partition UInt16 COMMENT 'Kafka partition of the dead letter',
    record_offset UInt64 COMMENT 'Kafka offset of the dead letter' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY letter_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Records refused, with their bytes, from touchline.dead-letters; kept for ever';
