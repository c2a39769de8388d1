CREATE OR REPLACE VIEW touchline.dead_letters
(
    letter_id UUID COMMENT 'id of the dead letter: a record that the same stage refuses again keeps its id',
    at DateTime64(3, 'UTC') COMMENT 'time of the last rejection, UTC',
    stage LowCardinality(String) COMMENT 'processing stage that refused the record',
    source LowCardinality(String) COMMENT 'event family, empty if unknown',
    connector LowCardinality(String) COMMENT 'connector that read the record, empty if unknown',
    reason LowCardinality(String) COMMENT 'reason code of the last rejection',
    detail String COMMENT 'description of the error',
    origin String COMMENT 'first position of the record: file and line, or topic/partition/offset',
    topic LowCardinality(Nullable(String)) COMMENT 'Kafka topic of the record; NULL if it was never on Kafka',
    partition Nullable(Int32) COMMENT 'Kafka partition of the record; NULL if it was never on Kafka',
    offset Nullable(Int64) COMMENT 'first Kafka offset of the record; NULL if it was never on Kafka',
    schema_id Nullable(Int64) COMMENT 'schema id at the start of the bytes',
    key Nullable(String) COMMENT 'Kafka key of the record, at most 64 KiB; personal data',
    payload String COMMENT 'original bytes, at most 6 MiB; personal data',
    size UInt64 COMMENT 'full length of the record, bytes',
    truncated UInt8 COMMENT '1: payload or key is truncated',
    software LowCardinality(String) COMMENT 'version of Touchline at the last rejection',
    replays UInt32 COMMENT 'number of replays of the record',
    replayed UInt8 COMMENT '1: the record was sent again and not refused since',
    replayed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'time of the last replay, UTC; NULL: never'
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
COMMENT 'Refused records with their bytes and the last reason';
