CREATE TABLE IF NOT EXISTS touchline_store.erasure_proofs
(
    proof_id FixedString(16) COMMENT 'the erasure, UUID bytes',
    customer_id FixedString(16) COMMENT 'the erased customer: a keyed hash of one of its identifiers',
    erased_at DateTime64(3, 'UTC') COMMENT 'time at which the last row was deleted, UTC' CODEC(Delta, ZSTD),
    reason String COMMENT 'reason that the person who ran the command gave' CODEC(ZSTD),
    who LowCardinality(String) COMMENT 'person who ran the command',
    identifiers UInt32 COMMENT 'number of erased identifiers',
    digest FixedString(32) COMMENT 'SHA-256 of the keyed hashes of all erased identifiers, in ascending order',
    deleted Map(LowCardinality(String), UInt64) COMMENT 'number of deleted rows by table',
    software LowCardinality(String) COMMENT 'version of Touchline that ran the erasure',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(erased_at)
ORDER BY proof_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Proofs of erasures without personal data, written by touchline erase; kept for ever';
