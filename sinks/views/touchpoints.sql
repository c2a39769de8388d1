CREATE OR REPLACE VIEW touchline.touchpoints
(
    event_id UUID COMMENT 'the touchpoint: the same version of the same source record is always the same id',
    customer_id UUID COMMENT 'the customer as known now, identity merges followed',
    customer_id_then UUID COMMENT 'the customer as known when the touchpoint passed',
    source LowCardinality(String) COMMENT 'event family: crm, erp, inventory, support, feedback, social, web',
    system LowCardinality(String) COMMENT 'the product it came from',
    connector LowCardinality(String) COMMENT 'the connector that read it',
    type LowCardinality(String) COMMENT 'what happened, such as order.placed',
    channel LowCardinality(String) COMMENT 'where it happened: web, app, email, phone, chat, sms, post, store, field, social, system',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty where the journey definition names none',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when it happened by the clock of the source, UTC',
    received_at DateTime64(3, 'UTC') COMMENT 'when the connector read it, UTC',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was written, UTC',
    text Nullable(String) COMMENT 'what the customer wrote or said; personal data',
    sentiment Nullable(Float64) COMMENT 'emotion of the text, -1 to 1; NULL: not yet scored',
    nps Nullable(Float64) COMMENT 'answer to a recommendation question, 0 to 10',
    csat Nullable(Float64) COMMENT 'answer to a satisfaction question, on scale_low to scale_high',
    ces Nullable(Float64) COMMENT 'answer to an ease question, on scale_low to scale_high',
    metric LowCardinality(Nullable(String)) COMMENT 'declared type of the survey question: nps, csat, ces',
    scale_low Nullable(Int32) COMMENT 'lowest point of the declared scale',
    scale_high Nullable(Int32) COMMENT 'highest point of the declared scale',
    survey_id Nullable(String) COMMENT 'the survey, as its system names it',
    question_id LowCardinality(Nullable(String)) COMMENT 'the survey question, as its system names it',
    rating Nullable(Float64) COMMENT 'rating given in public, on the scale of the system',
    amount Nullable(Decimal(18, 4)) COMMENT 'money, in units of currency',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of amount',
    product Nullable(String) COMMENT 'the product, as its system names it',
    quantity Nullable(Float64) COMMENT 'number of units of the product',
    order_id Nullable(String) COMMENT 'the order, as its system names it',
    ticket_id Nullable(String) COMMENT 'the support ticket, as its system names it',
    delay_days Nullable(Float64) COMMENT 'later than promised by so many days, negative when early',
    wait_seconds Nullable(Float64) COMMENT 'how long the customer waited for this step, seconds',
    attributes Map(LowCardinality(String), String) COMMENT 'other fields of the source by name; personal data'
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
    toUUID(UUIDNumToString(stored.event_id)) AS event_id,
    toUUID(UUIDNumToString(if(merged.from_customer = stored.customer_id, merged.to_customer, stored.customer_id))) AS customer_id,
    toUUID(UUIDNumToString(stored.customer_id)) AS customer_id_then,
    source, system, connector, type, channel, stage, occurred_at, received_at, stored_at, text,
    CAST(NULL AS Nullable(Float64)) AS sentiment,
    if(metric = 'nps', answer, NULL) AS nps,
    if(metric = 'csat', answer, NULL) AS csat,
    if(metric = 'ces', answer, NULL) AS ces,
    metric, scale_low, scale_high, survey_id, question_id, rating,
    if(isNull(stored.amount), NULL, reinterpret(assumeNotNull(stored.amount), 'Decimal(18, 4)')) AS amount,
    currency, product, quantity, order_id, ticket_id, delay_days, wait_seconds, attributes
FROM (SELECT * FROM touchline_store.touchpoints_by_event FINAL) AS stored
LEFT ANY JOIN merged ON merged.from_customer = stored.customer_id
WHERE stored.customer_id NOT IN (erased) AND merged.to_customer NOT IN (erased)
COMMENT 'Every touchpoint once, with the customer as known now';
