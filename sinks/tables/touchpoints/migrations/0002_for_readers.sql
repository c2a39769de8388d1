CREATE TABLE IF NOT EXISTS touchline_store.touchpoints_by_event AS touchline_store.touchpoints
ENGINE = ReplacingMergeTree(received_at)
ORDER BY event_id
SETTINGS index_granularity = 1024, min_compress_block_size = 16384, non_replicated_deduplication_window = 10000
COMMENT 'Touchpoints of known customers, in granules that single ones are found in, from touchline.resolved; kept for ever. Read the view touchline.touchpoints instead';

CREATE TABLE IF NOT EXISTS touchline_store.touchpoints_of_customers
(
    customer_id FixedString(16) COMMENT 'a customer that the touchpoint was ever stored with, UUID bytes',
    event_id FixedString(16) COMMENT 'the touchpoint, UUID bytes'
)
ENGINE = ReplacingMergeTree
ORDER BY (customer_id, event_id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'Where to look for the touchpoints of a customer, from touchpoints_by_event, which alone says whose they are; kept for ever';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_customers
TO touchline_store.touchpoints_of_customers
AS
SELECT customer_id, event_id FROM touchline_store.touchpoints_by_event
COMMENT 'Notes whose touchpoint each one was';

CREATE TABLE IF NOT EXISTS touchline_store.answers
(
    event_id FixedString(16) COMMENT 'the touchpoint, UUID bytes',
    customer_id FixedString(16) COMMENT 'the customer as known when the touchpoint passed, UUID bytes',
    system LowCardinality(String) COMMENT 'the product it came from',
    type LowCardinality(String) COMMENT 'what happened, family.verb',
    channel LowCardinality(String) COMMENT 'where it happened',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty where the journey definition names none',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when it happened by the clock of the source, UTC' CODEC(Delta, ZSTD),
    received_at DateTime64(3, 'UTC') COMMENT 'when the connector read it, UTC: the latest of an event_id is the true row'
        CODEC(Delta, ZSTD),
    metric LowCardinality(Nullable(String)) COMMENT 'declared type of the survey question: nps, csat, ces; NULL where it is none',
    answer Nullable(Float64) COMMENT 'survey answer on its declared scale',
    scale_low Nullable(Int32) COMMENT 'lowest point of the declared scale',
    scale_high Nullable(Int32) COMMENT 'highest point of the declared scale',
    question_id LowCardinality(Nullable(String)) COMMENT 'the survey question, as its system names it'
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY event_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What surveys asked and were answered, from touchpoints_by_event; kept for ever. Read the view touchline.kpis instead';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_answers
TO touchline_store.answers
AS
SELECT
    event_id, customer_id, system, type, channel, stage, occurred_at, received_at, metric, answer, scale_low, scale_high, question_id
FROM touchline_store.touchpoints_by_event
WHERE source = 'feedback'
COMMENT 'Keeps what kpis count';

CREATE TABLE IF NOT EXISTS touchline_store.segments
(
    customer_id FixedString(16) COMMENT 'the customer as known when the touchpoint passed, UUID bytes',
    segment String COMMENT 'segment that a source gave the customer',
    version UInt128
        COMMENT 'of the touchpoint that gave it: milliseconds since 1900 and, below 2^64, the first half of its event_id; the highest is true'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY customer_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The latest segment that each customer was given, from touchpoints_by_event; kept for ever';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_segments
TO touchline_store.segments
AS
SELECT
    customer_id,
    attributes['segment'] AS segment,
    bitShiftLeft(toUInt128(toUnixTimestamp64Milli(occurred_at) + 2208988800000), 64)
        + reinterpretAsUInt64(reverse(substring(event_id, 1, 8))) AS version
FROM touchline_store.touchpoints_by_event
WHERE segment != ''
COMMENT 'Keeps the segments that touchpoints give';

CREATE TABLE IF NOT EXISTS touchline_store.touchpoints_by_day
(
    day Date COMMENT 'day on which it happened by the clock of the source, UTC',
    event_id UUID COMMENT 'the touchpoint',
    customer_id UUID COMMENT 'the customer as known when the table was made',
    customer_id_then UUID COMMENT 'the customer as known when the touchpoint passed',
    type LowCardinality(String) COMMENT 'what happened, family.verb',
    channel LowCardinality(String) COMMENT 'where it happened',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty where the journey definition names none'
)
ENGINE = MergeTree
ORDER BY (day, event_id)
COMMENT 'Every touchpoint once, by day, made anew every 10 minutes from touchpoints_by_event and merges';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_day
REFRESH EVERY 10 MINUTE TO touchline_store.touchpoints_by_day
AS
WITH merged AS
(
    SELECT from_customer, to_customer FROM touchline_store.merges FINAL
)
SELECT
    toDate(occurred_at) AS day,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    toUUID(UUIDNumToString(if(merged.from_customer = stored.customer_id, merged.to_customer, stored.customer_id))) AS customer_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id_then,
    type, channel, stage
FROM (SELECT * FROM touchline_store.touchpoints_by_event FINAL) AS stored
LEFT ANY JOIN merged ON merged.from_customer = stored.customer_id
COMMENT 'Makes the touchpoints by day';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_event
TO touchline_store.touchpoints_by_event
AS
SELECT * FROM touchline_store.touchpoints
COMMENT 'Hands on what a sink of an older version writes';

INSERT INTO touchline_store.touchpoints_by_event SELECT * FROM touchline_store.touchpoints;
