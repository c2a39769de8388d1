CREATE OR REPLACE VIEW touchline.identities
(
    kind LowCardinality(String) COMMENT 'kind of identifier: email, phone, loyalty, crm_contact, erp_party, social_handle, ...',
    identifier String
        COMMENT 'the identifier, masked: an email as a***@e***.org, any other by the system that gave it and the last two characters',
    customer_id UUID COMMENT 'the customer as known now, identity merges followed',
    customer_id_then UUID COMMENT 'the customer that the identifier was first given to',
    rule LowCardinality(String) COMMENT 'rule that gave it to the customer',
    event_id UUID COMMENT 'the touchpoint that brought it',
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
    kind,
    if(kind IN ('email', 'phone', 'loyalty'), '', extract(value, '^[^/]*/')) AS system,
    substring(value, length(system) + 1) AS own,
    if(
        kind = 'email',
        concat(extract(own, '^.'), '***@', extract(own, '@(.)'), '***', extract(own, '[.][^.@]+$')),
        concat(system, '***', if(lengthUTF8(own) < 6, '', rightUTF8(own, 2)))
    ) AS identifier,
    toUUID(UUIDNumToString(if(merged.from_customer = stored.customer_id, merged.to_customer, stored.customer_id))) AS customer_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id_then,
    rule,
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    at
FROM (SELECT * FROM touchline_store.identities FINAL) AS stored
LEFT ANY JOIN merged ON merged.from_customer = stored.customer_id
WHERE stored.customer_id NOT IN (erased) AND merged.to_customer NOT IN (erased)
COMMENT 'Every identifier, masked, with the customer it belongs to';
