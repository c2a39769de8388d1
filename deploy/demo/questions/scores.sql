-- NPS, CSAT and CES over all time, by the channel of the survey, with 95 % intervals.
-- NPS: normal, variance of a difference of shares. CSAT (4 and 5 of 5) and CES (5 to 7 of 7): Wilson.
WITH
    1.959964 AS z,
    asked AS
    (
        SELECT assumeNotNull(metric) AS metric, channel, type, scale_high, coalesce(nps, csat, ces) AS answer
        FROM touchline.touchpoints AS touchpoint
        WHERE isNotNull(touchpoint.metric)
    ),
    counted AS
    (
        SELECT
            metric, channel,
            countIf(isNotNull(answer)) AS n,
            countIf(type = 'survey.offered') AS offered,
            countIf(answer >= multiIf(metric = 'nps', 9, metric = 'csat', scale_high - 1, 5)) / n AS good,
            countIf(metric = 'nps' AND answer <= 6) / n AS bad,
            if(metric = 'nps', good - bad, (good + z * z / (2 * n)) / (1 + z * z / n)) AS centre,
            if(
                metric = 'nps',
                z * sqrt((good + bad - pow(good - bad, 2)) / n),
                z * sqrt(good * (1 - good) / n + z * z / (4 * n * n)) / (1 + z * z / n)
            ) AS half
        FROM asked
        GROUP BY metric, channel
        HAVING n > 0
    )
SELECT
    metric, channel,
    round(100 * (good - bad), 1) AS value,
    round(100 * greatest(centre - half, if(metric = 'nps', -1, 0)), 1) AS low,
    round(100 * least(centre + half, 1), 1) AS high,
    n,
    offered,
    round(100 * n / offered) AS answered_percent
FROM counted
ORDER BY indexOf(['nps', 'csat', 'ces'], metric), n DESC
