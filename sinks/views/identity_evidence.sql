CREATE OR REPLACE VIEW touchline.identity_evidence
(
    customer_id UUID COMMENT 'the customer of the touchpoints as known now',
    identifier_id UUID COMMENT 'id of the first identifier',
    kind LowCardinality(String) COMMENT 'kind of the first identifier',
    other_id UUID COMMENT 'id of the second identifier',
    other_kind LowCardinality(String) COMMENT 'kind of the second identifier',
    rule LowCardinality(String) COMMENT 'rule with the highest confidence that links the identifiers',
    confidence Float64 COMMENT 'confidence of the rule, probability 0 to 1',
    is_verified UInt8 COMMENT '1: an authenticated source named both identifiers',
    touchpoints UInt64 COMMENT 'number of touchpoints that named both identifiers',
    first_at DateTime64(3, 'UTC') COMMENT 'time of the first of these touchpoints, UTC',
    first_event_id UUID COMMENT 'the first of these touchpoints',
    last_at DateTime64(3, 'UTC') COMMENT 'time of the last of these touchpoints, UTC',
    last_event_id UUID COMMENT 'the last of these touchpoints'
)
AS
WITH
    first_named AS
    (
        SELECT
            toUUID(UUIDNumToString(stored.event_id)) AS event_id, rule, confidence,
            arrayMap(id -> toUUID(UUIDNumToString(id)), identifier_ids) AS known_ids, kinds
        FROM (SELECT * FROM touchline_store.evidence FINAL) AS stored
    ),
    pairs AS
    (
        SELECT
            touchpoint.customer_id AS customer, touchpoint.event_id AS event, occurred_at, verified,
            first_named.rule AS found_rule, first_named.confidence AS found_confidence,
            arraySort(touchpoint.identifier_ids) AS ids,
            ids[one] AS one_id,
            ids[two] AS two_id,
            kinds[indexOf(known_ids, one_id)] AS one_kind,
            kinds[indexOf(known_ids, two_id)] AS two_kind
        FROM touchline.touchpoints AS touchpoint
        LEFT ANY JOIN first_named ON first_named.event_id = touchpoint.event_id
        ARRAY JOIN range(1, length(touchpoint.identifier_ids)) AS one
        ARRAY JOIN range(one + 1, length(touchpoint.identifier_ids) + 1) AS two
    )
SELECT
    customer AS customer_id,
    one_id AS identifier_id,
    max(one_kind) AS kind,
    two_id AS other_id,
    max(two_kind) AS other_kind,
    argMax(found_rule, found_confidence) AS rule,
    max(found_confidence) AS confidence,
    max(verified) AS is_verified,
    count() AS touchpoints,
    min(occurred_at) AS first_at,
    argMin(event, (occurred_at, event)) AS first_event_id,
    max(occurred_at) AS last_at,
    argMax(event, (occurred_at, event)) AS last_event_id
FROM pairs
GROUP BY customer, one_id, two_id
COMMENT 'Pairs of identifiers that touchpoints named together, with their count';
