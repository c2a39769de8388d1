CREATE OR REPLACE VIEW touchline.identities
(
    identifier_id UUID COMMENT 'id of the identifier: its hash under the secret of the installation',
    kind LowCardinality(String) COMMENT 'kind of identifier: email, phone, loyalty, crm_contact, erp_party, social_handle, ...',
    identifier String
        COMMENT 'the identifier, masked: an email as a***@e***.org, any other by the system that gave it and the last two characters',
    customer_id UUID COMMENT 'the customer that owns the identifier now',
    is_shared UInt8 COMMENT '1: too many people use the identifier, so it links no touchpoints',
    rule LowCardinality(String) COMMENT 'rule that gave the identifier to the customer',
    event_id UUID COMMENT 'the touchpoint or decision that gave it',
    at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint or decision, UTC'
)
AS
SELECT
    identifier_id,
    kind,
    if(kind = 'email', '', extract(value, '^[^/]*/')) AS system,
    substring(value, length(system) + 1) AS own,
    if(
        kind = 'email',
        concat(extract(own, '^.'), '***@', extract(own, '@(.)'), '***', extract(own, '[.][^.@]+$')),
        concat(system, '***', if(lengthUTF8(own) < 6, '', rightUTF8(own, 2)))
    ) AS identifier,
    customer_id, is_shared, rule, event_id, at
FROM touchline.identifiers
COMMENT 'All identifiers, masked, with their customers';
