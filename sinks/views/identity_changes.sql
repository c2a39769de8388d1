CREATE OR REPLACE VIEW touchline.identity_changes
(
    at DateTime64(3, 'UTC') COMMENT 'time of the touchpoint or decision that caused the change, UTC',
    change LowCardinality(String) COMMENT 'kind of change: merge or split; the action of a decision that moved no identifier',
    from_customer UUID COMMENT 'the customer that was merged into the other, or that the other was split from',
    to_customer UUID COMMENT 'the customer that it was merged into, or that was split from it; from_customer if nothing moved',
    customer_id UUID COMMENT 'the customer that from_customer belongs to now',
    rule LowCardinality(String) COMMENT 'rule that caused the change; empty if nothing moved',
    who String COMMENT 'the person who decided; empty for a change by a touchpoint',
    reason String COMMENT 'reason of the decision; empty for a change by a touchpoint; personal data',
    event_id UUID COMMENT 'the touchpoint or decision that caused the change'
)
AS
WITH
    erased AS
    (
        SELECT customer_id FROM touchline_store.erased_customers
    ),
    -- Decisions whose reasons may name an erased person.
    hidden AS
    (
        SELECT decision_id FROM touchline_store.decisions
        ARRAY JOIN arrayConcat(left_ids, right_ids) AS id
        WHERE action != 'erase' AND id IN (SELECT identifier_id FROM touchline_store.erasures)
    ),
    involved AS
    (
        SELECT arrayJoin(arrayConcat([customer_id, current], exception_customers, shared)) AS customer_id FROM touchline_store.routes
    ),
    owned AS
    (
        -- A repeated decision publishes the same owner again.
        SELECT
            identifier_id, customer_id, event_id, min(record_offset) AS place,
            argMin(rule, record_offset) AS rule, argMin(at, record_offset) AS at
        FROM touchline_store.member_owners
        WHERE customer_id IN (SELECT customer_id FROM involved)
        GROUP BY identifier_id, customer_id, event_id
    ),
    moves AS
    (
        SELECT
            *,
            lagInFrame(customer_id) OVER (
                PARTITION BY identifier_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS owner_before
        FROM owned
    ),
    effects AS
    (
        -- The id of a customer is that of one of its identifiers. In a merge, this identifier itself gets another owner.
        SELECT
            owner_before AS from_id, customer_id AS to_id, event_id,
            if(countIf(identifier_id = owner_before) > 0, 'merge', 'split') AS change, min(moves.rule) AS rule, max(moves.at) AS at
        FROM moves
        WHERE owner_before != customer_id AND owner_before != toFixedString('', 16)
        GROUP BY from_id, to_id, event_id
    ),
    owners AS
    (
        SELECT identifier_id, customer_id FROM touchline_store.members FINAL
        WHERE toUUID(UUIDNumToString(identifier_id)) IN
        (
            SELECT toUUID(UUIDNumToString(arrayJoin(left_ids))) FROM touchline_store.decisions
        )
    ),
    listed AS
    (
        SELECT effects.at AS at, change, from_id, to_id, effects.rule AS rule, who, reason, effects.event_id AS event_id
        FROM effects
        LEFT ANY JOIN (SELECT decision_id, who, reason FROM touchline_store.decisions FINAL) AS decided
            ON decided.decision_id = effects.event_id
        UNION ALL
        SELECT decided.at, action, owners.customer_id AS owner, owner, '', who, reason, decision_id
        FROM (SELECT * FROM touchline_store.decisions FINAL) AS decided
        LEFT ANY JOIN owners ON owners.identifier_id = left_ids[1]
        WHERE decision_id NOT IN (SELECT event_id FROM effects)
    )
SELECT
    at, change,
    toUUID(UUIDNumToString(from_id)) AS from_customer,
    toUUID(UUIDNumToString(to_id)) AS to_customer,
    toUUID(UUIDNumToString(if(route.customer_id = from_id, route.current, from_id))) AS customer_id,
    listed.rule AS rule, who, reason,
    toUUID(UUIDNumToString(listed.event_id)) AS event_id
FROM listed
LEFT ANY JOIN (SELECT customer_id, current FROM touchline_store.routes FINAL) AS route ON route.customer_id = from_id
WHERE from_id NOT IN (erased) AND to_id NOT IN (erased) AND listed.event_id NOT IN (hidden)
COMMENT 'All merges and splits of customers, and the decisions that moved nothing';
