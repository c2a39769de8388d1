CREATE TABLE IF NOT EXISTS touchline_store.journeys_by_customer AS touchline_store.journeys
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
