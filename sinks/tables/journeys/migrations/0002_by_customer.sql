CREATE TABLE IF NOT EXISTS touchline_store.journeys_by_customer
(
    journey_id FixedString(16) COMMENT 'the journey, UUID bytes',
    customer_id FixedString(16) COMMENT 'the customer it was read for, UUID bytes',
    version UInt64 COMMENT 'the highest version of a journey_id is the true row',
    deleted UInt8 COMMENT '1 takes the journey back',
    definition LowCardinality(String) COMMENT 'journey definition and its version',
    status LowCardinality(String) COMMENT 'open or closed',
    outcome LowCardinality(String) COMMENT 'how it ended, empty while open',
    stage LowCardinality(String) COMMENT 'stage it stands in',
    started_at DateTime64(3, 'UTC') COMMENT 'first touchpoint, UTC' CODEC(Delta, ZSTD),
    last_at DateTime64(3, 'UTC') COMMENT 'last touchpoint, UTC' CODEC(Delta, ZSTD),
    touchpoints UInt32 COMMENT 'number of touchpoints',
    channels Array(LowCardinality(String)) COMMENT 'channels in order of first use',
    stages Array(LowCardinality(String)) COMMENT 'stages in order of first visit',
    friction UInt32 COMMENT 'number of touchpoints that cost the customer effort',
    moments_of_truth Array(FixedString(16)) COMMENT 'decisive touchpoints, UUID bytes',
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (toUUID(UUIDNumToString(customer_id)), journey_id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'Journeys as they stand, side by side for each customer, from touchline.journeys; kept for ever. Read the view touchline.journeys instead';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.journeys_to_customer
TO touchline_store.journeys_by_customer
AS
SELECT * FROM touchline_store.journeys
COMMENT 'Hands on what a sink of an older version writes';

INSERT INTO touchline_store.journeys_by_customer SELECT * FROM touchline_store.journeys;
