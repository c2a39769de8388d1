CREATE OR REPLACE VIEW touchline.freshness
(
    connector String COMMENT 'name of the connector',
    last_event_at Nullable(DateTime64(3, 'UTC')) COMMENT 'newest source time published, UTC',
    last_success_at DateTime64(3, 'UTC') COMMENT 'last successful live read of any of its streams, UTC; 1970: never',
    lag_seconds Float64 COMMENT 'time since last_success_at, seconds',
    events_24h UInt64 COMMENT 'number of touchpoints received in the last 24 hours',
    read UInt64 COMMENT 'number of records read from the source',
    published UInt64 COMMENT 'number of published touchpoints',
    dead_lettered UInt64 COMMENT 'number of records that the connector refused',
    repeated UInt64 COMMENT 'number of records already seen in the same stream',
    stored UInt64 COMMENT 'number of distinct stored touchpoints',
    reconciliation_difference Int64
        COMMENT 'read minus repeated minus dead_lettered minus stored, in records; 0: all read records are stored',
    backfill_difference Nullable(Int64)
        COMMENT 'records counted by the source in the window of a backfill minus records read, for the stream with most missing records'
)
AS
WITH
    streams AS
    (
        SELECT
            connector,
            max(stream.last_event_at) AS last_event_at,
            maxIf(stream.last_success_at, NOT startsWith(stream.stream, 'backfill/')) AS last_success_at,
            sum(stream.read) AS read,
            sum(stream.published) AS published,
            sum(stream.dead_lettered) AS dead_lettered,
            sum(stream.repeated) AS repeated,
            max(stream.backfill_difference) AS backfill_difference
        FROM (SELECT * FROM touchline_store.connector_state FINAL) AS stream
        GROUP BY connector
    ),
    touched AS
    (
        SELECT connector, count() AS stored, countIf(received_at > now64(3) - INTERVAL 24 HOUR) AS events_24h
        FROM touchline_store.touchpoints_by_event FINAL
        GROUP BY connector
    )
SELECT
    connector, last_event_at, last_success_at,
    dateDiff('millisecond', last_success_at, now64(3)) / 1000 AS lag_seconds,
    events_24h, read, published, dead_lettered, repeated, stored,
    toInt64(read) - repeated - dead_lettered - stored AS reconciliation_difference,
    backfill_difference
FROM streams
LEFT ANY JOIN touched USING connector
COMMENT 'Freshness of each connector, and the difference between read and stored records';
