CREATE OR REPLACE VIEW touchline.signals
(
    reading_id UUID COMMENT 'id of the reading',
    customer_id UUID COMMENT 'the customer as known now',
    signal LowCardinality(String) COMMENT 'name of the signal',
    at DateTime64(3, 'UTC') COMMENT 'time of the reading, UTC',
    value Nullable(Float64) COMMENT 'the reading, in the unit of the signal; NULL without evidence',
    low Nullable(Float64) COMMENT 'lower bound, same unit as value',
    high Nullable(Float64) COMMENT 'upper bound, same unit as value',
    evidence UInt32 COMMENT 'number of touchpoints behind the reading',
    numbers Map(LowCardinality(String), Float64) COMMENT 'further values of the signal by name; units in the README of the signal',
    drivers Array(Tuple(event_id UUID, contribution Float64, text String))
        COMMENT 'touchpoints with the largest effect on the reading: signed contribution in the unit of value, and the reason',
    event_id Nullable(UUID) COMMENT 'the touchpoint that caused the reading; NULL if the passage of time did',
    definition_version LowCardinality(String) COMMENT 'definition of the signal and its version'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.reading_id)) AS reading_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id,
    signal, at, value, low, high, evidence, numbers,
    arrayMap(
        (id, contribution, words) -> (toUUID(UUIDNumToString(id)), contribution, words),
        driver_event_ids, driver_contributions, driver_texts
    ) AS drivers,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    definition AS definition_version
FROM (SELECT * FROM touchline_store.signals_by_customer FINAL) AS stored
LEFT ANY JOIN touchline_store.first_versions AS current ON current.customer_id = stored.customer_id
WHERE stored.version >= current.first_version
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
COMMENT 'All readings of signals without a view of their own, of the current revision of each customer';
