CREATE TABLE IF NOT EXISTS touchline_store.churn_by_customer
(
    reading_id FixedString(16) COMMENT 'the reading, UUID bytes',
    customer_id FixedString(16) COMMENT 'the customer it was read for, UUID bytes',
    signal LowCardinality(String) COMMENT 'name of the signal',
    event_id Nullable(FixedString(16)) COMMENT 'the touchpoint that brought the reading, NULL where time passing did, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time the reading speaks of, UTC' CODEC(Delta, ZSTD),
    version UInt64 COMMENT 'the highest version of a reading_id is the true row',
    deleted UInt8 COMMENT '1 takes the reading back',
    definition LowCardinality(String) COMMENT 'definition or model and its version',
    value Nullable(Float64) COMMENT 'probability 0-1 of no qualifying event within the horizon',
    low Nullable(Float64) COMMENT 'lower bound, same unit as value',
    high Nullable(Float64) COMMENT 'upper bound, same unit as value',
    evidence UInt32 COMMENT 'number of touchpoints behind the reading',
    numbers Map(LowCardinality(String), Float64) COMMENT 'horizon_days, idle_days (days), baseline (probability 0-1 from idle days alone)',
    driver_event_ids Array(FixedString(16)) COMMENT 'touchpoints that moved the reading most, UUID bytes',
    driver_contributions Array(Float64) COMMENT 'contribution of each driver, signed, same unit as value',
    driver_texts Array(String) COMMENT 'each driver in words' CODEC(ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (toUUID(UUIDNumToString(customer_id)), reading_id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'Churn readings, side by side for each customer, from touchline.churn; kept for ever. Read the view touchline.churn instead';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.churn_to_customer
TO touchline_store.churn_by_customer
AS
SELECT * FROM touchline_store.churn
COMMENT 'Hands on what a sink of an older version writes';

INSERT INTO touchline_store.churn_by_customer SELECT * FROM touchline_store.churn;
