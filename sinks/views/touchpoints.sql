CREATE OR REPLACE VIEW touchline.touchpoints
(
    event_id UUID COMMENT 'id of the touchpoint: the same version of the same source record always has the same id',
    customer_id UUID COMMENT 'the customer as known now, identity merges and splits followed',
    customer_id_then UUID COMMENT 'the customer as known at the time of processing',
    source LowCardinality(String) COMMENT 'event family: crm, erp, inventory, support, feedback, social, web',
    system LowCardinality(String) COMMENT 'source product, such as a CRM or shop',
    connector LowCardinality(String) COMMENT 'connector that read the event',
    type LowCardinality(String) COMMENT 'type of event, such as order.placed',
    channel LowCardinality(String) COMMENT 'channel of the event: web, app, email, phone, chat, sms, post, store, field, social, system',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty if the journey definition has none',
    occurred_at DateTime64(3, 'UTC') COMMENT 'time of the event by the clock of the source, UTC',
    received_at DateTime64(3, 'UTC') COMMENT 'time at which the connector read the event, UTC',
    stored_at DateTime64(3, 'UTC') COMMENT 'time of the insert, UTC',
    text Nullable(String) COMMENT 'text by the customer; personal data',
    sentiment Nullable(Float64) COMMENT 'emotion of the text, -1 to 1; always NULL in this version',
    nps Nullable(Float64) COMMENT 'answer to a recommendation question, 0 to 10',
    csat Nullable(Float64) COMMENT 'answer to a satisfaction question, on scale_low to scale_high',
    ces Nullable(Float64) COMMENT 'answer to an ease question, on scale_low to scale_high',
    metric LowCardinality(Nullable(String)) COMMENT 'declared type of the survey question: nps, csat, ces',
    scale_low Nullable(Int32) COMMENT 'lowest point of the declared scale',
    scale_high Nullable(Int32) COMMENT 'highest point of the declared scale',
    survey_id Nullable(String) COMMENT 'id of the survey in its system',
    question_id LowCardinality(Nullable(String)) COMMENT 'id of the survey question in its system',
    rating Nullable(Float64) COMMENT 'public rating, on the scale of the system',
    amount Nullable(Decimal(18, 4)) COMMENT 'money, in units of currency',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of amount',
    product Nullable(String) COMMENT 'id of the product in its system',
    quantity Nullable(Float64) COMMENT 'number of units of the product',
    order_id Nullable(String) COMMENT 'id of the order in its system',
    ticket_id Nullable(String) COMMENT 'id of the support ticket in its system',
    delay_days Nullable(Float64) COMMENT 'delay against the promised time, days; negative: early',
    wait_seconds Nullable(Float64) COMMENT 'waiting time of the customer for this step, seconds',
    attributes Map(LowCardinality(String), String) COMMENT 'other fields of the source by name; personal data',
    identifier_ids Array(UUID) COMMENT 'identifiers of the touchpoint, the strongest first, with those of compound keys',
    identifier_kinds Array(String) COMMENT 'kinds of the identifiers, in the order of the source',
    identifier_values Array(String) COMMENT 'normalised identifiers, in the order of the source; personal data',
    traits Map(LowCardinality(String), String) COMMENT 'traits of the person by name, such as surname; personal data',
    verified UInt8 COMMENT '1: the source is authenticated; 0: it is not, so its identifiers join no known customers'
)
AS
WITH erased AS
(
    SELECT customer_id FROM touchline_store.erased_customers
)
SELECT
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    toUUID(UUIDNumToString(if(now.customer_id_then = stored.customer_id, now.customer_id, stored.customer_id))) AS customer_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id_then,
    source, system, connector, type, channel, stage, occurred_at, received_at, stored_at, text,
    CAST(NULL AS Nullable(Float64)) AS sentiment,
    if(metric = 'nps', answer, NULL) AS nps,
    if(metric = 'csat', answer, NULL) AS csat,
    if(metric = 'ces', answer, NULL) AS ces,
    metric, scale_low, scale_high, survey_id, question_id, rating,
    if(isNull(stored.amount), NULL, reinterpret(assumeNotNull(stored.amount), 'Decimal(18, 4)')) AS amount,
    currency, product, quantity, order_id, ticket_id, delay_days, wait_seconds, attributes,
    arrayMap(id -> toUUID(UUIDNumToString(id)), stored.identifier_ids) AS identifier_ids,
    identifier_kinds, identifier_values, traits, verified
FROM (SELECT * FROM touchline_store.touchpoints_by_event FINAL) AS stored
LEFT ANY JOIN touchline_store.current_customers AS now ON now.resolution = stored.resolution
WHERE stored.customer_id NOT IN (erased) AND now.customer_id NOT IN (erased)
COMMENT 'All touchpoints, each with the customer as known now';
