CREATE OR REPLACE VIEW touchline.dead_letters
(
    letter_id UUID COMMENT 'the dead letter: the same record refused again by the same stage is the same one',
    at DateTime64(3, 'UTC') COMMENT 'when it was last refused, UTC',
    stage LowCardinality(String) COMMENT 'stage that refused it',
    source LowCardinality(String) COMMENT 'event family, empty where unknown',
    connector LowCardinality(String) COMMENT 'connector that read it, empty where unknown',
    reason LowCardinality(String) COMMENT 'short word for why it was last refused',
    detail String COMMENT 'why, in words',
    origin String COMMENT 'where the record stood first: file and line, or topic/partition/offset',
    topic LowCardinality(Nullable(String)) COMMENT 'Kafka topic of the record; NULL where it never was on Kafka',
    partition Nullable(Int32) COMMENT 'Kafka partition of the record; NULL likewise',
    offset Nullable(Int64) COMMENT 'Kafka offset at which the record stood first; NULL likewise',
    schema_id Nullable(Int64) COMMENT 'schema id that the bytes name',
    key Nullable(String) COMMENT 'Kafka key of the record, at most 64 KiB; personal data',
    payload String COMMENT 'original bytes, at most 6 MiB; personal data',
    size UInt64 COMMENT 'full length of the record, bytes',
    truncated UInt8 COMMENT '1 where payload or key is cut',
    software LowCardinality(String) COMMENT 'version of Touchline that last refused it',
    replays UInt32 COMMENT 'how many times the record was sent again after a repair',
    replayed UInt8 COMMENT '1 where the record was sent again and not refused since',
    replayed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was last sent again, UTC; NULL where never'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.letter_id)) AS letter_id,
    at, stage, source, connector, reason, detail, origin, topic, partition, offset, schema_id, key, payload, size, truncated, software,
    greatest(stored.replays, sent.replays) AS replays,
    sent.replays > stored.replays AS replayed,
    nullIf(sent.at, toDateTime64(0, 3, 'UTC')) AS replayed_at
FROM
(
    SELECT * FROM touchline_store.dead_letters FINAL
    WHERE (letter_id, replays) IN (SELECT letter_id, max(replays) FROM touchline_store.dead_letters GROUP BY letter_id)
) AS stored
LEFT JOIN
(
    SELECT letter_id, max(replays) AS replays, max(at) AS at FROM touchline_store.replays GROUP BY letter_id
) AS sent ON sent.letter_id = stored.letter_id
COMMENT 'Records refused, kept whole with their last reason';
