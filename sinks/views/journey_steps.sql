CREATE OR REPLACE VIEW touchline.journey_steps
(
    journey_id UUID COMMENT 'the journey',
    customer_id UUID COMMENT 'the customer as known now',
    step UInt64 COMMENT 'number of the step in its journey, from 1, in order of occurred_at',
    event_id UUID COMMENT 'the touchpoint',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty where the journey definition names none',
    type LowCardinality(String) COMMENT 'what happened, such as order.placed',
    channel LowCardinality(String) COMMENT 'where it happened',
    system LowCardinality(String) COMMENT 'the product it came from',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when it happened by the clock of the source, UTC',
    dwell_seconds Nullable(Float64) COMMENT 'time to the next step of the journey, seconds; NULL at the last one'
)
AS
WITH
    begun AS
    (
        -- The first touchpoint of a journey is known by its time and, among touchpoints of one millisecond, by the journey's
        -- id, which is the UUIDv5 of customer, definition and that touchpoint. Six bytes of the hash are enough for that.
        SELECT journey.customer_id AS customer_id, touchpoint.event_id AS event_id, journey.journey_id AS begins
        FROM touchline.touchpoints AS touchpoint
        INNER JOIN touchline.journeys AS journey
            ON touchpoint.customer_id = journey.customer_id AND touchpoint.occurred_at = journey.started_at
        WHERE substring(UUIDToNum(journey.journey_id), 1, 6) = substring(
            SHA1(concat(UUIDToNum(journey.customer_id), definition, '/', lower(hex(UUIDToNum(touchpoint.event_id))))), 1, 6
        )
    ),
    placed AS
    (
        SELECT
            customer_id, event_id, stage, type, channel, system, occurred_at,
            UUIDToNum(event_id) AS place,
            last_value(nullIf(begins, toUUID('00000000-0000-0000-0000-000000000000'))) IGNORE NULLS OVER (
                PARTITION BY customer_id ORDER BY occurred_at, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS journey
        FROM touchline.touchpoints
        LEFT ANY JOIN begun USING (customer_id, event_id)
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
COMMENT 'Every touchpoint as a step of its journey: for funnels, paths and waiting times';
