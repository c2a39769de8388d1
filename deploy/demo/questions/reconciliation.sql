-- Every record read is stored exactly once or kept as a dead letter: `difference` is 0.
WITH
    touched AS
    (
        SELECT connector, uniqExact(event_id) AS stored_once, count() AS stored FROM touchline.touchpoints GROUP BY connector
    ),
    refused AS
    (
        SELECT connector, count() AS dead_letters FROM touchline.dead_letters
        WHERE connector != '' AND NOT replayed AND stage != 'join' -- a record that join refuses is stored all the same
        GROUP BY connector
    )
SELECT
    connector AS input,
    read,
    touched.stored_once AS stored_once,
    refused.dead_letters AS dead_letters,
    toInt64(read) - repeated - refused.dead_letters - touched.stored AS difference
FROM touchline.freshness
LEFT JOIN touched USING connector
LEFT JOIN refused USING connector
WHERE connector IN ('cdnow', 'telecom')
ORDER BY input
