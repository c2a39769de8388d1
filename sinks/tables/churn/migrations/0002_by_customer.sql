CREATE TABLE IF NOT EXISTS touchline_store.churn_by_customer AS touchline_store.churn
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
