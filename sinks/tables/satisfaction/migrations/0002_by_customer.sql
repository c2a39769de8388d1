CREATE TABLE IF NOT EXISTS touchline_store.satisfaction_by_customer AS touchline_store.satisfaction
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
