CREATE OR REPLACE VIEW touchline.journeys
(
    journey_id UUID COMMENT 'id of the journey',
    customer_id UUID COMMENT 'the customer as known now',
    definition LowCardinality(String) COMMENT 'journey definition and its version',
    status LowCardinality(String) COMMENT 'open or closed',
    outcome LowCardinality(String) COMMENT 'outcome of the journey, empty while open',
    stage LowCardinality(String) COMMENT 'current stage',
    started_at DateTime64(3, 'UTC') COMMENT 'first touchpoint, UTC',
    last_at DateTime64(3, 'UTC') COMMENT 'last touchpoint, UTC',
    touchpoints UInt32 COMMENT 'number of touchpoints',
    channels Array(String) COMMENT 'channels of its touchpoints, in order of the first one',
    stages Array(String) COMMENT 'stages of its touchpoints, in order of the first one',
    friction UInt32 COMMENT 'number of touchpoints that required effort of the customer',
    moments_of_truth Array(UUID) COMMENT 'event_id of the decisive touchpoints by the journey definition'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.journey_id)) AS journey_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id,
    definition, status, outcome, stage, started_at, last_at, touchpoints, channels, stages, friction,
    arrayMap(id -> toUUID(UUIDNumToString(id)), stored.moments_of_truth) AS moments_of_truth
FROM (SELECT * FROM touchline_store.journeys_by_customer FINAL) AS stored
LEFT ANY JOIN touchline_store.first_versions AS current ON current.customer_id = stored.customer_id
WHERE stored.version >= current.first_version
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
COMMENT 'All journeys in their current state, of the current revision of each customer';
