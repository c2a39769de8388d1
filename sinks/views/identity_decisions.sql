CREATE OR REPLACE VIEW touchline.identity_decisions
(
    decision_id UUID COMMENT 'id of the decision',
    at DateTime64(3, 'UTC') COMMENT 'time of the decision, UTC',
    action LowCardinality(String) COMMENT 'kind of decision: split, join, undo, erase, review',
    who String COMMENT 'the person who decided',
    reason String COMMENT 'reason by this person; personal data',
    confidence Float64 COMMENT 'confidence of the decision, probability 0 to 1',
    left_ids Array(UUID) COMMENT 'identifiers on the first side, or the erased ones',
    right_ids Array(UUID) COMMENT 'identifiers on the second side',
    undoes Nullable(UUID) COMMENT 'the decision that this one takes back; NULL: none',
    undone_by Nullable(UUID) COMMENT 'the decision that takes this one back; NULL: none'
)
AS
WITH
    undone AS
    (
        SELECT assumeNotNull(undoes) AS undone_id, max(decision_id) AS undone_by
        FROM touchline_store.decisions
        WHERE undoes IS NOT NULL
        GROUP BY undone_id
    ),
    -- Their reasons may name an erased person.
    hidden AS
    (
        SELECT decision_id FROM touchline_store.decisions
        ARRAY JOIN arrayConcat(left_ids, right_ids) AS id
        WHERE action != 'erase' AND id IN (SELECT identifier_id FROM touchline_store.erasures)
    )
SELECT
    toUUID(UUIDNumToString(stored.decision_id)) AS decision_id,
    at, action, who, reason, confidence,
    arrayMap(id -> toUUID(UUIDNumToString(id)), stored.left_ids) AS left_ids,
    arrayMap(id -> toUUID(UUIDNumToString(id)), stored.right_ids) AS right_ids,
    toUUID(UUIDNumToString(stored.undoes)) AS undoes,
    if(undone.undone_id = stored.decision_id, toUUID(UUIDNumToString(undone.undone_by)), NULL) AS undone_by
FROM (SELECT * FROM touchline_store.decisions FINAL) AS stored
LEFT ANY JOIN undone ON undone.undone_id = stored.decision_id
WHERE stored.decision_id NOT IN (hidden)
COMMENT 'Decisions of people on the identity map, except those that name an identifier of an erased person';
