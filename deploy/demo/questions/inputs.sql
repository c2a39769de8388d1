-- Touchpoints and customers per input, with the current scores of those customers.
WITH known AS
(
    SELECT connector, customer_id, count() AS touchpoints, min(occurred_at) AS first_at, max(occurred_at) AS last_at
    FROM touchline.touchpoints
    WHERE connector IN ('cdnow', 'telecom')
    GROUP BY connector, customer_id
)
SELECT
    connector AS input,
    sum(known.touchpoints) AS touchpoints,
    count() AS customers,
    toDate(min(known.first_at)) AS first,
    toDate(max(known.last_at)) AS last,
    round(avg(customer.satisfaction), 1) AS satisfaction,
    round(median(customer.churn_risk), 2) AS median_risk,
    round(avg(toFloat64(customer.lifetime_value)), 2) AS mean_value_usd
FROM known
INNER JOIN touchline.customers AS customer USING customer_id
GROUP BY connector
ORDER BY input
