-- The ten customers of the telecom company with the highest churn risk among those active within 180 days. Risk: probability of
-- no order and no payment in 90 days. Baseline: the same from idle days alone.
WITH latest AS
(
    SELECT
        customer_id,
        argMax(risk, at) AS risk,
        argMax(baseline, at) AS baseline,
        argMax(idle_days, at) AS idle_days,
        argMax(arrayMap(reason -> reason.3, reasons), at) AS reasons
    FROM touchline.churn
    WHERE customer_id IN (SELECT customer_id FROM touchline.touchpoints WHERE connector = 'telecom')
    GROUP BY customer_id
    HAVING risk < 1 AND idle_days <= 180
)
SELECT
    customer_id,
    customer.segment AS segment,
    round(latest.risk, 3) AS risk,
    round(latest.baseline, 3) AS baseline,
    round(latest.idle_days) AS idle_days,
    round(customer.satisfaction) AS satisfaction,
    arrayStringConcat(latest.reasons, '; ') AS reasons
FROM latest
INNER JOIN touchline.customers AS customer USING customer_id
ORDER BY latest.risk DESC, idle_days DESC, customer_id
LIMIT 10
