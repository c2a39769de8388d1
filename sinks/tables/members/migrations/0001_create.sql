CREATE TABLE IF NOT EXISTS touchline_store.members
(
    identifier_id FixedString(16) COMMENT 'the identifier, UUID bytes',
    kind LowCardinality(String) COMMENT 'kind of identifier: email, phone, crm_contact, ...',
    value String COMMENT 'the normalised identifier, empty once erased; personal data' CODEC(ZSTD),
    customer_id FixedString(16) COMMENT 'the customer that owns the identifier, UUID bytes',
    is_shared UInt8 COMMENT '1: too many people use the identifier, it links no touchpoints',
    is_erased UInt8 COMMENT '1: the identifier belongs to an erased person',
    rule LowCardinality(String) COMMENT 'rule that gave the identifier to the customer',
    event_id FixedString(16) COMMENT 'touchpoint or decision that caused the record, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint or decision, UTC' CODEC(Delta, ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record: the last one of an identifier counts' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the insert, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(record_offset)
ORDER BY (toUUID(UUIDNumToString(identifier_id)))
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Identifiers and their customers, from touchline.identity; kept for ever';

CREATE TABLE IF NOT EXISTS touchline_store.member_owners
(
    customer_id FixedString(16) COMMENT 'a customer that owned the identifier at some time, UUID bytes',
    identifier_id FixedString(16) COMMENT 'the identifier, UUID bytes',
    rule LowCardinality(String) COMMENT 'rule that gave the identifier to the customer',
    event_id FixedString(16) COMMENT 'touchpoint or decision that caused the record, UUID bytes',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint or decision, UTC' CODEC(Delta, ZSTD),
    record_offset UInt64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree
ORDER BY (customer_id, identifier_id, record_offset)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 10000
COMMENT 'All owners that each identifier ever had, from members; kept for ever. Read the view touchline.identity_changes instead';

CREATE MATERIALIZED VIEW IF NOT EXISTS touchline_store.members_to_owners
TO touchline_store.member_owners
AS
SELECT customer_id, identifier_id, rule, event_id, at, record_offset FROM touchline_store.members
COMMENT 'Keeps all owners of each identifier';
