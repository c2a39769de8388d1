CREATE TABLE IF NOT EXISTS touchline_store.connector_state
(
    connector LowCardinality(String) COMMENT 'the connector',
    stream String COMMENT 'one of its streams',
    cursor String COMMENT 'where it was read up to, JSON of the connector' CODEC(ZSTD),
    read UInt64 COMMENT 'records read so far',
    published UInt64 COMMENT 'touchpoints published so far',
    dead_lettered UInt64 COMMENT 'records refused so far',
    repeated UInt64 COMMENT 'records seen before in the same stream so far',
    last_event_at Nullable(DateTime64(3, 'UTC')) COMMENT 'newest source time published, UTC',
    last_success_at DateTime64(3, 'UTC') COMMENT 'when the source was last read to the end, UTC',
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of a stream is the true row' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY (connector, stream)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Cursor and running totals of every connector stream, from touchline.connector-state; kept for ever';
