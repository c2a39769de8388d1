CREATE OR REPLACE VIEW touchline.identity_changes
(
    at DateTime64(3, 'UTC') COMMENT 'time of the touchpoint that caused the merge, UTC',
    change LowCardinality(String) COMMENT 'kind of change: merge',
    from_customer UUID COMMENT 'the customer that was merged into the other',
    to_customer UUID COMMENT 'the customer that it was merged into at that time',
    customer_id UUID COMMENT 'the customer that both belong to now',
    rule LowCardinality(String) COMMENT 'rule that matched both customers',
    event_id UUID COMMENT 'the touchpoint that caused the merge'
)
AS
WITH
    merged AS
    (
        SELECT from_customer, to_customer FROM touchline_store.merges FINAL
    ),
    erased AS
    (
        SELECT customer_id FROM touchline_store.erasures
    )
SELECT
    at,
    'merge' AS change,
    toUUID(UUIDNumToString(stored.from_customer)) AS from_customer,
    toUUID(UUIDNumToString(stored.to_customer)) AS to_customer,
    toUUID(UUIDNumToString(if(merged.from_customer = stored.from_customer, merged.to_customer, stored.to_customer))) AS customer_id,
    rule,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id
FROM (SELECT * FROM touchline_store.identity_changes FINAL ORDER BY record_offset LIMIT 1 BY from_customer) AS stored
LEFT ANY JOIN merged ON merged.from_customer = stored.from_customer
WHERE stored.from_customer NOT IN (erased) AND stored.to_customer NOT IN (erased) AND merged.to_customer NOT IN (erased)
COMMENT 'All merges of customers';
