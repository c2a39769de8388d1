CREATE TABLE IF NOT EXISTS touchline_store.replays
(
    letter_id FixedString(16) COMMENT 'the dead letter whose record was sent again, UUID bytes',
    replays UInt32 COMMENT 'how many times it was sent again, this one included',
    at DateTime64(3, 'UTC') COMMENT 'when Kafka had acknowledged it, UTC' CODEC(Delta, ZSTD),
    software LowCardinality(String) COMMENT 'version of Touchline that sent it',
    record_partition UInt16 COMMENT 'Kafka partition of this record',
    record_offset UInt64 COMMENT 'Kafka offset of this record' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (letter_id, replays)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Dead letters sent again, from touchline.dead-letters; kept for ever';
