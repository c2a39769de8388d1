CREATE OR REPLACE VIEW touchline.identifiers
(
    kind LowCardinality(String) COMMENT 'kind of identifier: email, phone, loyalty, crm_contact, erp_party, social_handle, ...',
    value String COMMENT 'the identifier in its normalised spelling, with its system in front where the kind is not global; personal data',
    customer_id UUID COMMENT 'the customer as known now, identity merges followed',
    customer_id_then UUID COMMENT 'the customer that first received the identifier',
    rule LowCardinality(String) COMMENT 'rule that gave the identifier to the customer',
    event_id UUID COMMENT 'the touchpoint that contained the identifier',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint, UTC'
)
AS
WITH
    merged AS
    (
        SELECT from_customer, to_customer FROM touchline_store.merges FINAL
    ),
    erased AS
    (
        SELECT customer_id FROM touchline_store.erasures
    )
SELECT
    kind, value,
    toUUID(UUIDNumToString(if(merged.from_customer = stored.customer_id, merged.to_customer, stored.customer_id))) AS customer_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id_then,
    rule,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    at
FROM (SELECT * FROM touchline_store.identities FINAL) AS stored
LEFT ANY JOIN merged ON merged.from_customer = stored.customer_id
WHERE stored.customer_id NOT IN (erased) AND merged.to_customer NOT IN (erased)
COMMENT 'All identifiers, in clear for the role touchline_pii; the view identities shows a part of each to all readers';
