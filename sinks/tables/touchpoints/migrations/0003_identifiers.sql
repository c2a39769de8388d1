ALTER TABLE touchline_store.touchpoints_by_event
    ADD COLUMN IF NOT EXISTS identifier_ids Array(FixedString(16)) COMMENT 'identifiers of the touchpoint, the strongest first, UUID bytes' AFTER attributes,
    ADD COLUMN IF NOT EXISTS identifier_kinds Array(LowCardinality(String)) COMMENT 'kinds of the identifiers in the order of the source' AFTER identifier_ids,
    ADD COLUMN IF NOT EXISTS identifier_values Array(String) COMMENT 'normalised identifiers in the order of the source; personal data' CODEC(ZSTD) AFTER identifier_kinds,
    ADD COLUMN IF NOT EXISTS traits Map(LowCardinality(String), String) COMMENT 'traits of the person by name, such as surname; personal data' CODEC(ZSTD) AFTER identifier_values,
    ADD COLUMN IF NOT EXISTS verified UInt8 DEFAULT 1 COMMENT '0: the source is not authenticated' AFTER traits,
    ADD COLUMN IF NOT EXISTS record String COMMENT 'record of the connector in the wire format; personal data' CODEC(ZSTD(3)) AFTER verified,
    ADD COLUMN IF NOT EXISTS resolution UInt64 DEFAULT sipHash64(customer_id, identifier_ids) COMMENT 'id of the pair of customer_id and identifier_ids' AFTER stored_at;

CREATE TABLE IF NOT EXISTS touchline_store.resolutions
(
    resolution UInt64 COMMENT 'id of the pair of customer_id and identifier_ids',
    customer_id FixedString(16) COMMENT 'the customer that touchpoints with these identifiers were resolved to, UUID bytes',
    identifier_ids Array(FixedString(16)) COMMENT 'identifiers of the touchpoints, the strongest first, UUID bytes'
)
ENGINE = ReplacingMergeTree
ORDER BY (customer_id, resolution)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'Distinct pairs of customer and identifiers of all touchpoints, from touchpoints_by_event; kept for ever';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_resolutions
TO touchline_store.resolutions
AS
SELECT DISTINCT resolution, customer_id, identifier_ids FROM touchline_store.touchpoints_by_event
COMMENT 'Keeps the pairs of customer and identifiers';

INSERT INTO touchline_store.resolutions SELECT DISTINCT resolution, customer_id, identifier_ids FROM touchline_store.touchpoints_by_event;

CREATE OR REPLACE VIEW touchline_store.current_customers
(
    resolution UInt64 COMMENT 'id of a pair of customer and identifiers',
    customer_id_then FixedString(16) COMMENT 'the customer of the pair, UUID bytes',
    customer_id FixedString(16) COMMENT 'the customer that owns the touchpoints of the pair now, UUID bytes'
)
AS
SELECT
    resolution,
    given.customer_id AS customer_id_then,
    arrayFirstIndex(id -> NOT has(route.shared, id), given.identifier_ids) AS decisive,
    indexOf(route.exception_ids, given.identifier_ids[decisive]) AS exception,
    multiIf(
        empty(given.identifier_ids), route.current,
        decisive = 0, given.identifier_ids[1],
        exception = 0, route.current,
        route.exception_customers[exception]
    ) AS customer_id
FROM
(
    SELECT * FROM touchline_store.resolutions WHERE customer_id IN (SELECT customer_id FROM touchline_store.routes)
) AS given
INNER JOIN (SELECT * FROM touchline_store.routes FINAL) AS route ON route.customer_id = given.customer_id
COMMENT 'The rule that gives each touchpoint its current customer; a pair without a row kept its customer';

CREATE TABLE IF NOT EXISTS touchline_store.segments_by_resolution
(
    resolution UInt64 COMMENT 'id of the pair of customer_id and identifier_ids',
    customer_id FixedString(16) COMMENT 'the customer that touchpoints with these identifiers were resolved to, UUID bytes',
    segment String COMMENT 'latest segment that these touchpoints gave',
    version UInt128
        COMMENT 'version of the segment: milliseconds since 1900 and, below 2^64, the first half of the event_id; the highest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (customer_id, resolution)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'The latest segment of each pair of customer and identifiers, from touchpoints_by_event; kept for ever';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_segments_by_resolution
TO touchline_store.segments_by_resolution
AS
SELECT
    resolution,
    customer_id,
    attributes['segment'] AS segment,
    bitShiftLeft(toUInt128(toUnixTimestamp64Milli(occurred_at) + 2208988800000), 64)
        + reinterpretAsUInt64(reverse(substring(event_id, 1, 8))) AS version
FROM touchline_store.touchpoints_by_event
WHERE segment != ''
COMMENT 'Keeps the segments of pairs of customer and identifiers';

INSERT INTO touchline_store.segments_by_resolution
SELECT
    resolution,
    customer_id,
    attributes['segment'] AS segment,
    bitShiftLeft(toUInt128(toUnixTimestamp64Milli(occurred_at) + 2208988800000), 64)
        + reinterpretAsUInt64(reverse(substring(event_id, 1, 8))) AS version
FROM touchline_store.touchpoints_by_event
WHERE segment != '';

ALTER TABLE touchline_store.answers
    ADD COLUMN IF NOT EXISTS resolution UInt64 DEFAULT sipHash64(customer_id, CAST([], 'Array(FixedString(16))')) COMMENT 'id of the pair of customer_id and identifiers of the touchpoint' AFTER question_id;

ALTER TABLE touchline_store.touchpoints_to_answers MODIFY QUERY
SELECT
    event_id, customer_id, system, type, channel, stage, occurred_at, received_at, metric, answer, scale_low, scale_high, question_id,
    resolution
FROM touchline_store.touchpoints_by_event
WHERE source = 'feedback';

DROP VIEW IF EXISTS touchline_store.touchpoints_to_day;

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.touchpoints_to_day
REFRESH EVERY 10 MINUTE TO touchline_store.touchpoints_by_day
AS
SELECT
    toDate(occurred_at) AS day,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    toUUID(UUIDNumToString(if(now.customer_id_then = stored.customer_id, now.customer_id, stored.customer_id))) AS customer_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id_then,
    type, channel, stage
FROM (SELECT * FROM touchline_store.touchpoints_by_event FINAL) AS stored
LEFT ANY JOIN touchline_store.current_customers AS now ON now.resolution = stored.resolution
COMMENT 'Rebuilds the touchpoints by day';

DROP TABLE IF EXISTS touchline_store.merges;
