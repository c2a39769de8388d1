CREATE OR REPLACE VIEW touchline.pain_points
(
    stage LowCardinality(String) COMMENT 'journey stage, empty where the journey definition names none',
    channel LowCardinality(String) COMMENT 'where it happened',
    type LowCardinality(String) COMMENT 'what happened',
    customers UInt64 COMMENT 'number of customers it happened to',
    touchpoints UInt64 COMMENT 'number of times it happened',
    satisfaction_change Nullable(Float64) COMMENT 'mean change of satisfaction that it brought, score points; NULL at n 0',
    low Nullable(Float64) COMMENT 'lower 95 % bound of satisfaction_change (Student t), score points; NULL below two different changes',
    high Nullable(Float64) COMMENT 'upper 95 % bound of satisfaction_change (Student t), score points; NULL below two different changes',
    n UInt64 COMMENT 'number of touchpoints with a satisfaction reading'
)
AS
WITH
    changes AS
    (
        SELECT assumeNotNull(event_id) AS event_id, change FROM touchline.satisfaction WHERE event_id IS NOT NULL AND change IS NOT NULL
    ),
    grouped AS
    (
        SELECT
            stage, channel, type,
            uniqExact(customer_id) AS customers,
            count() AS touchpoints,
            count(change) AS n,
            avg(change) AS satisfaction_change,
            studentTTestOneSampleIf(0.95)(assumeNotNull(change), 0., isNotNull(change)) AS interval,
            ifNull(max(change) - min(change) > 1e-9, false) AS different
        FROM touchline.touchpoints
        LEFT ANY JOIN changes USING event_id
        GROUP BY stage, channel, type
    )
SELECT
    stage, channel, type, customers, touchpoints, satisfaction_change,
    if(different, interval.3, NULL) AS low,
    if(different, interval.4, NULL) AS high,
    n
FROM grouped
COMMENT 'What each kind of touchpoint does to satisfaction: order by satisfaction_change to find the pain points';
