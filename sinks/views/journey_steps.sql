CREATE OR REPLACE VIEW touchline.journey_steps
(
    journey_id UUID COMMENT 'id of the journey',
    customer_id UUID COMMENT 'the customer as known now',
    step UInt64 COMMENT 'number of the step in its journey, from 1, in order of occurred_at',
    event_id UUID COMMENT 'id of the touchpoint',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty if the journey definition has none',
    type LowCardinality(String) COMMENT 'type of event, such as order.placed',
    channel LowCardinality(String) COMMENT 'channel of the event',
    system LowCardinality(String) COMMENT 'source product, such as a CRM or shop',
    occurred_at DateTime64(3, 'UTC') COMMENT 'time of the event by the clock of the source, UTC',
    dwell_seconds Nullable(Float64) COMMENT 'time to the next step of the journey, seconds; NULL for the last one'
)
AS
WITH
    begun AS
    (
        SELECT customer_id, started_at, groupArray((journey_id, definition)) AS found
        FROM touchline.journeys
        GROUP BY customer_id, started_at
    ),
    placed AS
    (
        -- Time identifies the first touchpoint of a journey; within one millisecond, the id of the journey does. The id
        -- is the UUIDv5 of customer, definition and first touchpoint. Six bytes of its hash are enough.
        SELECT
            customer_id, event_id, stage, type, channel, system, occurred_at,
            UUIDToNum(event_id) AS place,
            arrayFirst(
                journey -> substring(UUIDToNum(journey.1), 1, 6) = substring(
                    SHA1(concat(UUIDToNum(customer_id), journey.2, '/', lower(hex(place)))), 1, 6
                ),
                found
            ).1 AS begins,
            last_value(nullIf(begins, toUUID('00000000-0000-0000-0000-000000000000'))) IGNORE NULLS OVER (
                PARTITION BY customer_id ORDER BY occurred_at, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS journey
        FROM touchline.touchpoints AS touchpoint
        LEFT ANY JOIN begun ON begun.customer_id = touchpoint.customer_id AND begun.started_at = touchpoint.occurred_at
    )
SELECT
    assumeNotNull(journey) AS journey_id,
    customer_id,
    row_number() OVER steps AS step,
    event_id, stage, type, channel, system, occurred_at,
    dateDiff('millisecond', occurred_at, leadInFrame(toNullable(occurred_at)) OVER steps) / 1000 AS dwell_seconds
FROM placed
WHERE journey IS NOT NULL
WINDOW steps AS (PARTITION BY customer_id, journey ORDER BY occurred_at, place ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
COMMENT 'All touchpoints as steps of their journeys, for funnels, paths and waiting times';
