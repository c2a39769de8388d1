CREATE OR REPLACE VIEW touchline.identity_conflicts
(
    conflict_id UUID COMMENT 'id of the conflict',
    at DateTime64(3, 'UTC') COMMENT 'time of the touchpoint, UTC',
    reason LowCardinality(String)
        COMMENT 'reason: shared_value (too many people use it), limit (of the kind), unverified, anonymous, split (by hand), group_full',
    identifier_id UUID COMMENT 'id of the first identifier',
    kind LowCardinality(String) COMMENT 'kind of the first identifier',
    identifier String COMMENT 'the first identifier, masked as in identities',
    value String COMMENT 'the first identifier in its normalised spelling; personal data',
    other_id UUID COMMENT 'id of the second identifier',
    other_kind LowCardinality(String) COMMENT 'kind of the second identifier',
    other_identifier String COMMENT 'the second identifier, masked as in identities',
    other_value String COMMENT 'the second identifier in its normalised spelling; personal data',
    customer_id UUID COMMENT 'owner of the first identifier now',
    other_customer UUID COMMENT 'owner of the second identifier now',
    customer_id_then UUID COMMENT 'owner of the first identifier at that time',
    other_customer_then UUID COMMENT 'owner of the second identifier at that time',
    event_id UUID COMMENT 'the touchpoint that named both identifiers'
)
AS
WITH
    erased AS
    (
        SELECT customer_id FROM touchline_store.erased_customers
    ),
    named AS
    (
        SELECT identifier_id, identifier, customer_id FROM touchline.identities
        WHERE identifier_id IN
        (
            SELECT toUUID(UUIDNumToString(arrayJoin([identifier_id, other_id]))) FROM touchline_store.conflicts
        )
    ),
    found AS
    (
        SELECT
            toUUID(UUIDNumToString(conflict_id)) AS id, at, reason, kind, value, other_kind, other_value,
            toUUID(UUIDNumToString(identifier_id)) AS one_id,
            toUUID(UUIDNumToString(other_id)) AS two_id,
            toUUID(UUIDNumToString(customer_id)) AS one_then,
            toUUID(UUIDNumToString(other_customer)) AS two_then,
            toUUID(UUIDNumToString(event_id)) AS event
        FROM (SELECT * FROM touchline_store.conflicts FINAL) AS stored
        WHERE stored.identifier_id NOT IN (erased) AND stored.other_id NOT IN (erased)
            AND stored.customer_id NOT IN (erased) AND stored.other_customer NOT IN (erased)
    )
SELECT
    id AS conflict_id, at, reason,
    one_id AS identifier_id, kind, one.identifier AS identifier, value,
    two_id AS other_id, other_kind, two.identifier AS other_identifier, other_value,
    if(one.identifier_id = one_id, one.customer_id, one_then) AS customer_id,
    if(two.identifier_id = two_id, two.customer_id, two_then) AS other_customer,
    one_then AS customer_id_then,
    two_then AS other_customer_then,
    event AS event_id
FROM found
LEFT ANY JOIN named AS one ON one.identifier_id = one_id
LEFT ANY JOIN named AS two ON two.identifier_id = two_id
COMMENT 'Identifiers that a touchpoint named together and that were not linked, with the reason';
