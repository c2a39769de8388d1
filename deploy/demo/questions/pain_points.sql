-- Where it hurts: the kinds of touchpoint that lower satisfaction most, where there is enough to tell (n of 20 or more).
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
