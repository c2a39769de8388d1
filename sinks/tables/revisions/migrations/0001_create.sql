CREATE TABLE IF NOT EXISTS touchline_store.revisions
(
    customer_id FixedString(16) COMMENT 'the customer, UUID bytes',
    revision UInt64 COMMENT 'number of replacements of the readings and journeys of the customer',
    is_complete UInt8 COMMENT '0: readings and journeys lack touchpoints, the customer needs a rebuild',
    touchpoints UInt64 COMMENT 'number of touchpoints in the readings and journeys',
    at DateTime64(3, 'UTC') COMMENT 'time of the revision, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of a customer counts' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY customer_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Revisions of customers, from touchline.customers; kept for ever';

CREATE OR REPLACE VIEW touchline_store.first_versions
(
    customer_id FixedString(16) COMMENT 'a customer whose readings and journeys were replaced, UUID bytes',
    first_version UInt64 COMMENT 'lowest version of its current readings and journeys; older rows were replaced'
)
AS
SELECT customer_id, bitShiftLeft(revision, 40) AS first_version
FROM (SELECT customer_id, revision FROM touchline_store.revisions FINAL WHERE revision > 0)
COMMENT 'The rule that hides replaced readings and journeys';
