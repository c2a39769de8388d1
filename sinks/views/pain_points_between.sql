CREATE OR REPLACE VIEW touchline.pain_points_between
(
    stage LowCardinality(String) COMMENT 'journey stage, empty if the journey definition has none',
    channel LowCardinality(String) COMMENT 'channel of the event',
    type LowCardinality(String) COMMENT 'type of event',
    customers UInt64 COMMENT 'number of customers with such touchpoints',
    touchpoints UInt64 COMMENT 'number of touchpoints',
    satisfaction_change Nullable(Float64) COMMENT 'mean change of satisfaction by such a touchpoint, score points; NULL if n is 0',
    low Nullable(Float64) COMMENT 'lower 95 % bound of satisfaction_change (Student t), score points; NULL for fewer than two different changes',
    high Nullable(Float64) COMMENT 'upper 95 % bound of satisfaction_change (Student t), score points; NULL for fewer than two different changes',
    n UInt64 COMMENT 'number of touchpoints with a satisfaction reading'
)
AS
WITH
    erased AS
    (
        SELECT toUUID(UUIDNumToString(customer_id)) AS customer_id FROM touchline_store.erased_customers
    ),
    changes AS
    (
        SELECT event_id, toNullable(change) AS change FROM touchline_store.changes_by_day WHERE day BETWEEN {since:Date} AND {until:Date}
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
        FROM touchline_store.touchpoints_by_day AS happened
        LEFT ANY JOIN changes USING event_id
        WHERE happened.day BETWEEN {since:Date} AND {until:Date}
            AND happened.customer_id NOT IN (erased) AND happened.customer_id_then NOT IN (erased)
        GROUP BY stage, channel, type
    )
SELECT
    stage, channel, type, customers, touchpoints, satisfaction_change,
    if(different, interval.3, NULL) AS low,
    if(different, interval.4, NULL) AS high,
    n
FROM grouped
COMMENT 'pain_points of the days from since to until; rows stored in the last 10 minutes may be missing';
