ALTER TABLE touchline_store.erasures
    ADD COLUMN IF NOT EXISTS identifier_id FixedString(16) COMMENT 'identifier of the erased person, UUID bytes' AFTER customer_id,
    ADD COLUMN IF NOT EXISTS erased_at DateTime64(3, 'UTC') DEFAULT at COMMENT 'time of the erasure, UTC' CODEC(Delta, ZSTD) AFTER identifier_id,
    ADD COLUMN IF NOT EXISTS reason String COMMENT 'reason of the erasure' CODEC(ZSTD) AFTER erased_at,
    ADD COLUMN IF NOT EXISTS who String COMMENT 'the person who erased' AFTER reason,
    COMMENT COLUMN customer_id 'owner of the identifier at that time, UUID bytes',
    COMMENT COLUMN at 'time of the insert, UTC',
    MODIFY ORDER BY (customer_id, identifier_id);

ALTER TABLE touchline_store.erasures
    MODIFY COMMENT 'Identifiers of erased people, hidden from every view; inserted by touchline erase; kept for ever';

CREATE OR REPLACE VIEW touchline_store.erased_customers
(
    customer_id FixedString(16) COMMENT 'a customer id that no view shows, UUID bytes'
)
AS
SELECT DISTINCT id AS customer_id
FROM touchline_store.erasures
ARRAY JOIN [customer_id, identifier_id] AS id
WHERE id != toFixedString('', 16)
COMMENT 'The rule that hides erased people: the id of a customer is that of one of its identifiers';
