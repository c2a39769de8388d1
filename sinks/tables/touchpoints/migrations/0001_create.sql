CREATE TABLE IF NOT EXISTS touchline_store.touchpoints
(
    event_id FixedString(16) COMMENT 'the touchpoint, UUID bytes',
    customer_id FixedString(16) COMMENT 'the customer as known when the touchpoint passed, UUID bytes',
    source LowCardinality(String) COMMENT 'event family: crm, erp, inventory, support, feedback, social, web',
    system LowCardinality(String) COMMENT 'the product it came from',
    connector LowCardinality(String) COMMENT 'the connector that read it',
    type LowCardinality(String) COMMENT 'what happened, family.verb',
    channel LowCardinality(String) COMMENT 'where it happened',
    stage LowCardinality(String) COMMENT 'journey stage of the type, empty where the journey definition names none',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when it happened by the clock of the source, UTC' CODEC(Delta, ZSTD),
    received_at DateTime64(3, 'UTC') COMMENT 'when the connector read it, UTC' CODEC(Delta, ZSTD),
    text Nullable(String) COMMENT 'what the customer wrote or said' CODEC(ZSTD(3)),
    metric LowCardinality(Nullable(String)) COMMENT 'declared type of the survey question: nps, csat, ces',
    answer Nullable(Float64) COMMENT 'survey answer on its declared scale',
    scale_low Nullable(Int32) COMMENT 'lowest point of the declared scale',
    scale_high Nullable(Int32) COMMENT 'highest point of the declared scale',
    survey_id Nullable(String) COMMENT 'the survey, as its system names it',
    question_id LowCardinality(Nullable(String)) COMMENT 'the survey question, as its system names it',
    rating Nullable(Float64) COMMENT 'rating given in public, on the scale of the system',
    amount Nullable(Int64) COMMENT 'money, in ten-thousandths of the currency unit',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code',
    product Nullable(String) COMMENT 'the product, as its system names it' CODEC(ZSTD),
    quantity Nullable(Float64) COMMENT 'number of units of the product',
    order_id Nullable(String) COMMENT 'the order, as its system names it' CODEC(ZSTD),
    ticket_id Nullable(String) COMMENT 'the support ticket, as its system names it' CODEC(ZSTD),
    delay_days Nullable(Float64) COMMENT 'later than promised by so many days, negative when early',
    wait_seconds Nullable(Float64) COMMENT 'how long the customer waited for this step, seconds',
    attributes Map(LowCardinality(String), String) COMMENT 'everything else the source said' CODEC(ZSTD),
    record_partition UInt16 COMMENT 'Kafka partition of the record',
    record_offset UInt64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was written, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY event_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Touchpoints of known customers, from touchline.resolved; kept for ever. Read the view touchline.touchpoints instead';
