-- The touchpoint types that lower satisfaction most, from at least 20 readings each.
SELECT
    stage, channel, type, customers, touchpoints,
    round(satisfaction_change, 1) AS change,
    round(low, 1) AS low_change,
    round(high, 1) AS high_change,
    n
FROM touchline.pain_points
WHERE n >= 20 AND high < 0
ORDER BY satisfaction_change
LIMIT 10
