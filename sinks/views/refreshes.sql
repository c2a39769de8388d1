CREATE OR REPLACE VIEW touchline.refreshes
(
    table String COMMENT 'the rebuilt table, in touchline_store',
    made_at Nullable(DateTime('UTC')) COMMENT 'last successful rebuild, UTC; NULL: none since the server started',
    age_seconds UInt64 COMMENT 'time since made_at, or since the server started, seconds',
    error String COMMENT 'error of the last rebuild, empty if it succeeded'
)
AS
WITH made AS
(
    SELECT
        transform(view, ['touchpoints_to_day', 'satisfaction_to_day'], ['touchpoints_by_day', 'changes_by_day']) AS table,
        last_success_time AS made_at,
        ifNull(dateDiff('second', last_success_time, now()), toInt64(uptime())) AS age,
        exception
    FROM system.view_refreshes
    WHERE database = 'touchline_store'
)
SELECT
    table,
    argMax(tuple(made_at), age).1 AS made_at,
    toUInt64(greatest(max(age), 0)) AS age_seconds,
    max(exception) AS error
FROM made
GROUP BY table
COMMENT 'Age of the tables that are rebuilt every 10 minutes; on a cluster, of the server with the oldest one';
