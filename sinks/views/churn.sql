CREATE OR REPLACE VIEW touchline.churn
(
    reading_id UUID COMMENT 'id of the reading',
    customer_id UUID COMMENT 'the customer as known now',
    at DateTime64(3, 'UTC') COMMENT 'time of the reading, UTC',
    risk Nullable(Float64) COMMENT 'probability, 0 to 1, of no qualifying event within horizon_days after at; NULL without evidence',
    low Nullable(Float64) COMMENT 'lower bound of risk, 0 to 1',
    high Nullable(Float64) COMMENT 'upper bound of risk, 0 to 1',
    horizon_days Nullable(Float64) COMMENT 'length of the period that risk covers, days',
    idle_days Nullable(Float64) COMMENT 'time since the last qualifying event, days',
    baseline Nullable(Float64) COMMENT 'the same risk estimated from idle_days alone, 0 to 1',
    evidence UInt32 COMMENT 'number of touchpoints behind the risk',
    reasons Array(Tuple(event_id UUID, contribution Float64, text String))
        COMMENT 'touchpoints with the largest effect on the risk: signed contribution in probability, and the reason',
    event_id Nullable(UUID) COMMENT 'the touchpoint that caused the reading; NULL if the passage of time did',
    model_version LowCardinality(String) COMMENT 'model and its version'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.reading_id)) AS reading_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id,
    at,
    value AS risk,
    low, high,
    if(mapContains(numbers, 'horizon_days'), numbers['horizon_days'], NULL) AS horizon_days,
    if(mapContains(numbers, 'idle_days'), numbers['idle_days'], NULL) AS idle_days,
    if(mapContains(numbers, 'baseline'), numbers['baseline'], NULL) AS baseline,
    evidence,
    arrayMap(
        (id, contribution, words) -> (toUUID(UUIDNumToString(id)), contribution, words),
        driver_event_ids, driver_contributions, driver_texts
    ) AS reasons,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    definition AS model_version
FROM (SELECT * FROM touchline_store.churn_by_customer FINAL) AS stored
LEFT ANY JOIN touchline_store.first_versions AS current ON current.customer_id = stored.customer_id
WHERE stored.version >= current.first_version
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
COMMENT 'All churn readings of the current revision of each customer';
