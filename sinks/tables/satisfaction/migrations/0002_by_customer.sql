CREATE TABLE IF NOT EXISTS touchline_store.satisfaction_by_customer
(
    reading_id FixedString(16) COMMENT 'the reading, UUID bytes',
    customer_id FixedString(16) COMMENT 'the customer it was read for, UUID bytes',
    signal LowCardinality(String) COMMENT 'name of the signal',
    event_id Nullable(FixedString(16)) COMMENT 'the touchpoint that brought the reading, NULL where time passing did, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time the reading speaks of, UTC' CODEC(Delta, ZSTD),
    version UInt64 COMMENT 'the highest version of a reading_id is the true row',
    deleted UInt8 COMMENT '1 takes the reading back',
    definition LowCardinality(String) COMMENT 'definition or model and its version',
    value Nullable(Float64) COMMENT 'score 0-100',
    low Nullable(Float64) COMMENT 'lower bound, same unit as value',
    high Nullable(Float64) COMMENT 'upper bound, same unit as value',
    evidence UInt32 COMMENT 'number of touchpoints behind the reading',
    numbers Map(LowCardinality(String), Float64) COMMENT 'change: score points that the touchpoint event_id brought',
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
COMMENT 'Satisfaction readings, side by side for each customer, from touchline.satisfaction; kept for ever. Read the view touchline.satisfaction instead';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.satisfaction_to_customer
TO touchline_store.satisfaction_by_customer
AS
SELECT * FROM touchline_store.satisfaction
COMMENT 'Hands on what a sink of an older version writes';

INSERT INTO touchline_store.satisfaction_by_customer SELECT * FROM touchline_store.satisfaction;

CREATE TABLE IF NOT EXISTS touchline_store.changes_by_day
(
    day Date COMMENT 'day that the reading speaks of, UTC',
    event_id UUID COMMENT 'the touchpoint that brought the reading',
    change Float64 COMMENT 'score points that the touchpoint brought'
)
ENGINE = MergeTree
ORDER BY (day, event_id)
COMMENT 'What each touchpoint did to satisfaction, by day, made anew every 10 minutes from satisfaction_by_customer and merges';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.satisfaction_to_day
REFRESH EVERY 10 MINUTE TO touchline_store.changes_by_day
AS
SELECT
    toDate(at) AS day,
    toUUID(UUIDNumToString(assumeNotNull(stored.event_id))) AS event_id,
    numbers['change'] AS change
FROM (SELECT * FROM touchline_store.satisfaction_by_customer FINAL) AS stored
WHERE stored.event_id IS NOT NULL AND mapContains(numbers, 'change')
    AND stored.customer_id NOT IN (SELECT from_customer FROM touchline_store.merges)
COMMENT 'Makes the changes by day';
