CREATE OR REPLACE VIEW touchline.revisions
(
    customer_id UUID COMMENT 'a customer whose journeys and readings were replaced or are incomplete',
    revision UInt64 COMMENT 'number of times that its journeys and readings were replaced',
    is_complete UInt8 COMMENT '1: journeys and readings include all touchpoints; 0: the customer needs touchline rebuild',
    touchpoints UInt64 COMMENT 'number of touchpoints in its journeys and readings at that time',
    at DateTime64(3, 'UTC') COMMENT 'time of the last replacement or change of is_complete, UTC'
)
AS
SELECT toUUID(UUIDNumToString(stored.customer_id)) AS customer_id, revision, is_complete, touchpoints, at
FROM (SELECT * FROM touchline_store.revisions FINAL) AS stored
WHERE stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
COMMENT 'Customers whose journeys and readings were replaced, by a merge, a split or a rebuild, or are incomplete';
