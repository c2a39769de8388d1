CREATE TABLE IF NOT EXISTS touchline_store.erasures
(
    customer_id FixedString(16) COMMENT 'the customer whom no view shows, UUID bytes',
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'since when, UTC' CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY customer_id
COMMENT 'Customers hidden from every view, with all who were or will be merged into them; inserted by hand; kept for ever';
