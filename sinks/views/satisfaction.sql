CREATE OR REPLACE VIEW touchline.satisfaction
(
    reading_id UUID COMMENT 'the reading',
    customer_id UUID COMMENT 'the customer as known now',
    at DateTime64(3, 'UTC') COMMENT 'time the reading speaks of, UTC',
    score Nullable(Float64) COMMENT 'satisfaction, 0 to 100; NULL without evidence',
    low Nullable(Float64) COMMENT 'lower 95 % bound of score, 0 to 100',
    high Nullable(Float64) COMMENT 'upper 95 % bound of score, 0 to 100',
    evidence UInt32 COMMENT 'number of touchpoints behind the score',
    drivers Array(Tuple(event_id UUID, contribution Float64, text String))
        COMMENT 'touchpoints that moved the score most: contribution in score points, signed, and why in words',
    change Nullable(Float64) COMMENT 'score points that the touchpoint event_id brought; NULL where none did',
    event_id Nullable(UUID) COMMENT 'the touchpoint that brought the reading; NULL where time passing did',
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
WHERE stored.customer_id NOT IN (SELECT from_customer FROM touchline_store.merges)
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erasures)
COMMENT 'Every satisfaction reading; readings of customers merged into another are replaced by those of the other';
