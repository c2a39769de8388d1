DROP VIEW IF EXISTS touchline_store.satisfaction_to_day;

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.satisfaction_to_day
REFRESH EVERY 10 MINUTE TO touchline_store.changes_by_day
AS
SELECT
    toDate(at) AS day,
    toUUID(UUIDNumToString(assumeNotNull(stored.event_id))) AS event_id,
    numbers['change'] AS change
FROM (SELECT * FROM touchline_store.satisfaction_by_customer FINAL) AS stored
LEFT ANY JOIN touchline_store.first_versions AS current ON current.customer_id = stored.customer_id
WHERE stored.event_id IS NOT NULL AND mapContains(numbers, 'change') AND stored.version >= current.first_version
COMMENT 'Rebuilds the changes by day';
