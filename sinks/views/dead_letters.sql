CREATE OR REPLACE VIEW touchline.dead_letters
(
    letter_id UUID COMMENT 'the dead letter: the same record refused again by the same stage is the same one',
    at DateTime64(3, 'UTC') COMMENT 'when it was last refused, UTC',
    stage LowCardinality(String) COMMENT 'stage that refused it',
    source LowCardinality(String) COMMENT 'event family, empty where unknown',
    connector LowCardinality(String) COMMENT 'connector that read it, empty behind the connectors',
    reason LowCardinality(String) COMMENT 'short word for why',
    detail String COMMENT 'why, in words',
    origin String COMMENT 'where the record stood: file and line, or topic/partition/offset',
    topic LowCardinality(Nullable(String)) COMMENT 'Kafka topic of the record; NULL where it never was on Kafka',
    partition Nullable(Int32) COMMENT 'Kafka partition of the record; NULL likewise',
    offset Nullable(Int64) COMMENT 'Kafka offset of the record; NULL likewise',
    schema_id Nullable(Int64) COMMENT 'schema id that the bytes name',
    payload String COMMENT 'original bytes, at most 6 MiB; personal data',
    size UInt64 COMMENT 'full length of the record, bytes',
    truncated UInt8 COMMENT '1 where payload is cut',
    replayed UInt8 COMMENT '1 where the record was sent again after a repair; always 0 until replay is built'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.letter_id)) AS letter_id,
    at, stage, source, connector, reason, detail, origin, topic, partition, offset, schema_id, payload, size, truncated,
    0 AS replayed
FROM (SELECT * FROM touchline_store.dead_letters FINAL) AS stored
COMMENT 'Records refused, kept whole with their reason';
