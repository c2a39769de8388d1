CREATE OR REPLACE VIEW touchline.identity_changes
(
    at DateTime64(3, 'UTC') COMMENT 'time of the touchpoint that brought the change, UTC',
    change LowCardinality(String) COMMENT 'what happened: merge',
    from_customer UUID COMMENT 'the customer that went up in the other',
    to_customer UUID COMMENT 'the customer it became part of then',
    customer_id UUID COMMENT 'the customer that both are part of now',
    rule LowCardinality(String) COMMENT 'rule that found them to be one',
    event_id UUID COMMENT 'the touchpoint that brought the change'
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
COMMENT 'Every time that two customers were found to be one';
