CREATE OR REPLACE VIEW touchline.identifiers
(
    identifier_id UUID COMMENT 'id of the identifier: its hash under the secret of the installation',
    kind LowCardinality(String) COMMENT 'kind of identifier: email, phone, loyalty, crm_contact, erp_party, social_handle, ...',
    value String COMMENT 'the identifier in its normalised spelling, with its system in front where the kind is not global; personal data',
    customer_id UUID COMMENT 'the customer that owns the identifier now',
    is_shared UInt8 COMMENT '1: too many people use the identifier, so it links no touchpoints',
    rule LowCardinality(String) COMMENT 'rule that gave the identifier to the customer',
    event_id UUID COMMENT 'the touchpoint or decision that gave it',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint or decision, UTC'
)
AS
SELECT
    toUUID(UUIDNumToString(stored.identifier_id)) AS identifier_id,
    kind, value,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id,
    is_shared, rule,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    at
FROM (SELECT * FROM touchline_store.members FINAL) AS stored
WHERE NOT is_erased
    AND stored.customer_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
    AND stored.identifier_id NOT IN (SELECT customer_id FROM touchline_store.erased_customers)
COMMENT 'All identifiers, in clear for the role touchline_pii; the view identities shows a part of each to all readers';
