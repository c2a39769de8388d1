CREATE OR REPLACE VIEW touchline.customers
(
    customer_id UUID COMMENT 'the customer as known now, identity merges and splits followed',
    first_seen DateTime64(3, 'UTC') COMMENT 'first touchpoint, UTC',
    last_seen DateTime64(3, 'UTC') COMMENT 'last touchpoint, UTC',
    touchpoints UInt64 COMMENT 'number of touchpoints',
    channels Array(String) COMMENT 'channels used, in alphabetical order',
    systems Array(String) COMMENT 'systems with touchpoints of the customer, in alphabetical order',
    segment String COMMENT 'latest segment of any source, empty if there is none',
    satisfaction Nullable(Float64) COMMENT 'latest satisfaction score, 0 to 100; NULL without a reading',
    churn_risk Nullable(Float64) COMMENT 'latest churn risk, probability 0 to 1; NULL without a reading',
    open_journeys UInt64 COMMENT 'number of open journeys',
    lifetime_value Decimal(38, 4)
        COMMENT 'sum of amount of order.placed minus order.cancelled and return.received, in units of currencies, not converted',
    currencies Array(String) COMMENT 'ISO 4217 codes in lifetime_value; with more than one, the sum mixes currencies'
)
AS
WITH
    touched AS
    (
        SELECT
            customer_id,
            min(occurred_at) AS first_seen,
            max(occurred_at) AS last_seen,
            count() AS touchpoints,
            arraySort(groupUniqArray(channel)) AS channels,
            arraySort(groupUniqArray(system)) AS systems,
            argMaxIf(attributes['segment'], (occurred_at, UUIDToNum(event_id)), attributes['segment'] != '') AS segment,
            sum(multiIf(type = 'order.placed', amount, type IN ('order.cancelled', 'return.received'), -amount, NULL)) AS value_of_orders,
            arraySort(groupUniqArrayIf(
                assumeNotNull(currency), currency IS NOT NULL AND type IN ('order.placed', 'order.cancelled', 'return.received')
            )) AS currencies
        FROM touchline.touchpoints
        GROUP BY customer_id
    ),
    latest_satisfaction AS
    (
        SELECT customer_id, argMax(tuple(score), (at, evidence)).1 AS satisfaction FROM touchline.satisfaction GROUP BY customer_id
    ),
    latest_churn AS
    (
        SELECT customer_id, argMax(tuple(risk), (at, evidence)).1 AS churn_risk FROM touchline.churn GROUP BY customer_id
    ),
    unfinished AS
    (
        SELECT customer_id, count() AS open_journeys FROM touchline.journeys WHERE status = 'open' GROUP BY customer_id
    )
SELECT
    customer_id, first_seen, last_seen, touchpoints, channels, systems, segment, satisfaction, churn_risk, open_journeys,
    coalesce(value_of_orders, 0) AS lifetime_value, currencies
FROM touched
LEFT ANY JOIN latest_satisfaction USING customer_id
LEFT ANY JOIN latest_churn USING customer_id
LEFT ANY JOIN unfinished USING customer_id
COMMENT 'All customers with at least one touchpoint';
