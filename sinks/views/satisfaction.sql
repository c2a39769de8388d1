CREATE OR REPLACE VIEW touchline.satisfaction
(
    reading_id UUID COMMENT 'id of the reading',
    customer_id UUID COMMENT 'the customer as known now',
    at DateTime64(3, 'UTC') COMMENT 'time of the reading, UTC',
    score Nullable(Float64) COMMENT 'satisfaction, 0 to 100; NULL without evidence',
    low Nullable(Float64) COMMENT 'lower 95 % bound of score, 0 to 100',
    high Nullable(Float64) COMMENT 'upper 95 % bound of score, 0 to 100',
    evidence UInt32 COMMENT 'number of touchpoints behind the score',
    drivers Array(Tuple(event_id UUID, contribution Float64, text String))
        COMMENT 'touchpoints with the largest effect on the score: signed contribution in score points, and the reason',
    change Nullable(Float64) COMMENT 'change by the touchpoint event_id, score points; NULL without one',
    event_id Nullable(UUID) COMMENT 'the touchpoint that caused the reading; NULL if the passage of time did',
    definition_version LowCardinality(String) COMMENT 'definition of the score and its version'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.reading_id)) AS reading_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id,
    at,
    value AS score,
    low, high, evidence,
    arrayMap(
        (id, contribution, words) -> (toUUID(UUIDNumToString(id)), contribution, words),
        driver_event_ids, driver_contributions, driver_texts
    ) AS drivers,
    if(mapContains(numbers, 'change'), numbers['change'], NULL) AS change,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    definition AS definition_version
FROM (SELECT * FROM touchline_store.satisfaction_by_customer FINAL) AS stored
LEFT ANY JOIN touchline_store.first_versions AS current ON current.customer_id = stored.customer_id
WHERE stored.version >= current.first_version
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
COMMENT 'All satisfaction readings of the current revision of each customer';
