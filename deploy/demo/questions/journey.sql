-- The whole journey of one customer; a run of routine invoices and payments is one row.
WITH
    steps AS
    (
        SELECT
            *,
            type IN ('invoice.issued', 'payment.received') AS routine,
            sum(NOT routine) OVER (ORDER BY occurred_at, event_id ROWS UNBOUNDED PRECEDING) AS run
        FROM touchline.touchpoints
        WHERE customer_id = {customer:UUID}
    ),
    scores AS
    (
        SELECT assumeNotNull(event_id) AS event_id, score
        FROM touchline.satisfaction AS reading
        WHERE customer_id = {customer:UUID} AND isNotNull(reading.event_id)
    )
SELECT
    min(occurred_at) AS at,
    any(stage) AS stage,
    if(routine, 'bills and payments', any(type)) AS type,
    any(channel) AS channel,
    round(argMax(scores.score, if(scores.score > 0, occurred_at, NULL))) AS satisfaction,
    if(
        routine,
        if(count() = 1, '1 touchpoint', concat(toString(count()), ' touchpoints, up to ', toString(toDate(max(occurred_at))))),
        arrayStringConcat(
            arrayFilter(part -> part != '', [
                ifNull(any(product), ''),
                if(any(amount) > 0, concat(toString(any(amount)), ' ', any(currency)), ''),
                if(any(delay_days) > 0, concat(toString(any(delay_days)), ' days late'), ''),
                if(any(wait_seconds) > 60, concat('waited ', toString(round(any(wait_seconds) / 3600, 1)), ' h'), ''),
                if(isNull(any(coalesce(nps, csat, ces))), '', concat(
                    upper(any(metric)), ' ', toString(any(coalesce(nps, csat, ces))), ' of ', toString(any(scale_high))
                )),
                if(any(text) != '', concat('"', replaceAll(any(text), '\n', ' '), '"'), '')
            ]),
            ', '
        )
    ) AS details
FROM steps
LEFT ANY JOIN scores USING event_id
GROUP BY routine, if(routine, toString(run), toString(event_id))
ORDER BY at, routine, type
