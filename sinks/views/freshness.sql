CREATE OR REPLACE VIEW touchline.freshness
(
    connector String COMMENT 'the connector',
    last_event_at Nullable(DateTime64(3, 'UTC')) COMMENT 'newest source time published, UTC',
    last_success_at DateTime64(3, 'UTC') COMMENT 'when live reading of any of its streams last succeeded, UTC; 1970: never',
    lag_seconds Float64 COMMENT 'time since last_success_at, seconds',
    events_24h UInt64 COMMENT 'touchpoints received in the last 24 hours',
    read UInt64 COMMENT 'records read from the source',
    published UInt64 COMMENT 'touchpoints published',
    dead_lettered UInt64 COMMENT 'records refused by the connector',
    repeated UInt64 COMMENT 'records seen before in the same stream',
    stored UInt64 COMMENT 'touchpoints stored, each once',
    reconciliation_difference Int64
        COMMENT 'read minus repeated minus dead_lettered minus stored, in records; 0: everything read is stored once',
    backfill_difference Nullable(Int64)
        COMMENT 'what the source counted in the window of a backfill minus what was read, records of the stream lacking most'
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
COMMENT 'How current each connector is, and whether everything it read is stored';
