CREATE TABLE IF NOT EXISTS touchline_store.signals_by_customer AS touchline_store.signals
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (toUUID(UUIDNumToString(customer_id)), reading_id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'Readings of all signals without a topic of their own, side by side for each customer, from touchline.signals; kept for ever. Read the view touchline.signals instead';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.signals_to_customer
TO touchline_store.signals_by_customer
AS
SELECT * FROM touchline_store.signals
COMMENT 'Hands on what a sink of an older version writes';

INSERT INTO touchline_store.signals_by_customer SELECT * FROM touchline_store.signals;
